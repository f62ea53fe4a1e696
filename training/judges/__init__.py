"""Judges: who says which of two responses serves a principle better, and what each answer costs. Torch-free."""
