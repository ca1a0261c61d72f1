"""Primitive transformations, by topic."""
