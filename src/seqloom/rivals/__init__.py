"""Honest rivals: what a model must beat to be worth running."""
