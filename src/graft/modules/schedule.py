"""The default learning-rate schedule."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """A linear warm-up, then half a cosine down to zero.

    Args:
        optimizer: The optimizer.
        steps: Optimizer steps of the whole run.
        warmup: Share of them that warm up, 0 to 1.
    """

    def __init__(self, optimizer: Optimizer, steps: int, warmup: float) -> None:
        warmup_steps = round(warmup * steps)

        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / warmup_steps
            progress = (step - warmup_steps) / max(1, steps - warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

        super().__init__(optimizer, factor)
