"""See an optimizer: its parts and its cost, its state as numbers to log, pictures, and what to cite."""

from gradtx.inspect.citation import citation
from gradtx.inspect.describe import Description, describe
from gradtx.inspect.metrics import metrics
from gradtx.inspect.plots import plot_metrics, plot_schedule, plot_trajectories

__all__ = ["Description", "citation", "describe", "metrics", "plot_metrics", "plot_schedule", "plot_trajectories"]
