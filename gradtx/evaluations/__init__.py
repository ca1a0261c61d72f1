"""Transformations that ask for values or gradients at other points."""

__all__: list[str] = []
