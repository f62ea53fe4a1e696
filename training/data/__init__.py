"""Data: rows of files, of the hub and of databases, and the data files that a run starts from. Torch-free."""
