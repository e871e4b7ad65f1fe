"""All methods on one real task at equal steps: LiteMedSAM at 128 px on Kvasir-SEG, each at three learning rates.

    python benchmarks/methods.py --root DIR [--methods lora dora] [--rates 0.3 1 3] [--table] [--write]
    python benchmarks/methods.py fit --config FILE ...                              # one cell: fit, then what it costs

A method is its file in configs/methods; of its recipe everything holds but the learning rate, which is 1e-3 times each of
the rates for all that is trained, with a linear warm-up and a cosine. Cells that the output file holds are not run
again. Beside Dice stand, for each method: its adapters' parameters and bytes in a file, the time of a training step in
units of the same step with nothing adapted and a gradient through the whole network, and the process's peak memory.
"""

import argparse
import statistics
import sys
import time
from functools import partial
from pathlib import Path

from grid import Scores, insert, markdown, measure, read, run_missing, split

ROOT = Path(__file__).parents[1]
CONFIGS = [ROOT / "configs" / name for name in ("sam_polyp.yaml", "embedded/kvasir.yaml")]
METHODS = sorted(path.stem for path in (ROOT / "configs" / "methods").glob("*.yaml"))
RESULTS, PLOT = ROOT / "docs" / "results.md", ROOT / "docs" / "images" / "methods.png"
RATE, STEPS, PAIRS = 1e-3, 100, 7


def run(method: str, rate: float, root: Path, extra: list[str]) -> Scores:
    """Train one cell in a process of its own."""
    files = [*CONFIGS, ROOT / "configs" / "methods" / f"{method}.yaml"]
    options = [argument for path in files for argument in ("--config", str(path))]
    options += ["--data.root", str(root), "--model.lr_scheduler", "null", "--model.warmup", "0.1"]
    options += ["--model.optimizer.lr", str(RATE * rate), "--pictures.count", "0"]
    options += ["--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", str(STEPS)]
    metrics, seconds = measure("methods", [__file__, "fit", *options, *extra])
    cost = {name.removeprefix("cost/"): values[-1] for name, values in metrics.items() if name.startswith("cost/")}
    return {"dice": metrics["val/dice"][-1], "peak_gb": max(metrics["memory/peak_gb"]), "seconds": seconds, **cost}


def fit_and_cost(arguments: list[str]) -> None:
    """`main.py fit`, and what its adapters cost, in the same log."""
    from safetensors.torch import save  # here and below: a grid itself needs no torch

    from graft.adapters.files import trained
    from graft.cli import main as graft

    done = graft(arguments)
    adapters = {name: tensor.detach() for name, tensor in trained(done.model.model).items() if ".adapter." in name}
    done.trainer.logger.log_metrics({
        "cost/parameters": sum(p.numel() for n, p in done.model.model.named_parameters() if ".adapter." in n),
        "cost/bytes": len(save(adapters)),
        "cost/ratio": step_ratio(done),
    })  # fmt: skip
    done.trainer.logger.save()


def step_ratio(done) -> float:
    """Time of a training step over that of the floor: the same network without adapters, and a gradient through it."""
    import torch

    from graft.modules import SamSegmentation

    floor = SamSegmentation(done.model.backbone, image_size=done.model.image_size)
    floor.model.requires_grad_(False).eval().mask_decoder.requires_grad_(True)
    first = floor.model.image_encoder.patch_embed
    first.register_forward_hook(lambda module, inputs, output: output.detach().requires_grad_())
    batch = next(iter(done.datamodule.train_dataloader()))
    ratios = []
    for _ in range(PAIRS + 1):
        seconds = []
        for module in (done.model, floor):
            module.log = lambda *_, **__: None
            start = time.perf_counter()
            module.training_step(batch, 0).backward()
            module.zero_grad()
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    del torch
    return statistics.median(ratios[1:])  # the first pair warms up
