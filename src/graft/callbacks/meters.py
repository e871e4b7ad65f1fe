"""What training costs: images per second and peak memory."""

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Meters(Callback):
    """Logs `speed/images_per_second` (all processes) and `memory/peak_gb`.

    Args:
        every: Batches between two measurements.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.images = 0
        self.since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        self.images += len(batch["path"]) * trainer.world_size
        if (batch_idx + 1) % self.every == 0:
            speed = self.images / (time.perf_counter() - self.since)
            pl_module.log_dict({"speed/images_per_second": speed, "memory/peak_gb": peak_gb(pl_module.device)})
            self.on_train_start(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_start(trainer, pl_module)


def peak_gb(device: torch.device) -> float:
    """Peak memory of this process so far: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
