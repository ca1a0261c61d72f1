"""The training step that feeds every transformation."""

from gradtx.training.step import StepMetrics, build_step

__all__ = ["StepMetrics", "build_step"]
