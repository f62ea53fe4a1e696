"""Language models: loaded, read, decoded, measured, and asked as judges. Needs torch."""
