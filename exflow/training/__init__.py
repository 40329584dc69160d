"""Training: optimizer, compiled step, data parallelism, checkpoints and the loop that ties them together."""

from exflow.training.devices import configure_devices

__all__ = ["configure_devices"]
