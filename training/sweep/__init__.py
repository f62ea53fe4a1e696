"""Sweeps: many runs out of one recipe, which share the stages that they have in common, and their front. Torch-free."""
