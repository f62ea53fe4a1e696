"""What a team takes home from a run: models, labels, a model card."""
