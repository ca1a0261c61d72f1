"""The training step that feeds every transformation."""

__all__: list[str] = []
