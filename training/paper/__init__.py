"""The paper's experiments, done again: `python -m training paper`."""
