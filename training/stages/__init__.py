"""The stages of a run, one file each, which read from top to bottom, and the runner that runs one in this process."""
