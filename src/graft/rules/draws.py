"""Random numbers that depend on a seed and the step alone: alike on all processes and in a run that is resumed."""

import random

import torch


def generator(seed: int, step: int) -> torch.Generator:
    """A generator on the CPU for one optimizer step."""
    return torch.Generator().manual_seed(random.Random(f"{seed} {step}").getrandbits(32))
