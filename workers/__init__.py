"""The workers connect the web and the engine: they claim stages, run them and record their reports."""
