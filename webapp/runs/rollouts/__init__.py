"""The responses of a run's training with their scores: a table to filter and sort, and its downloads."""
