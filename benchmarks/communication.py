"""Count what two processes send each other while they train LiteMedSAM with Serial LoRA; compute what SAM's would.

    python -m torch.distributed.run --standalone --nproc_per_node=2 benchmarks/communication.py [--backbone vit_t]
        [--write]

What is counted is every operation of the process group, by the profiler: a step all-reduces the gradients of what is
trained, 4 bytes each. What is computed is how long that takes at least where n GPUs pass them round in a ring, of which
each link has the bandwidth b: 2 (n - 1) / n bytes / b, none of it hidden behind the backward pass (P. Patarasuk and X.
Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009). Nothing of it was measured on GPUs.
"""

import argparse
import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from grid import insert, markdown, split
from lightning.pytorch import Trainer
from torch.profiler import ProfilerActivity, profile

from graft.adapters import Adapter, LoRA, SerialLoRA
from graft.callbacks import Adapt, ExactResume, Guard
from graft.data import PolypPhantoms
from graft.modules import SamSegmentation

RESULTS = Path(__file__).parents[1] / "docs" / "performance.md"
STEPS = 4
PARTS: dict[str, dict[str, Any]] = {
    "decoder": {"where": ["image_encoder"], "train": ["mask_decoder"]},
    "all": {"train": ["image_encoder", "mask_decoder"]},
}
WAYS: dict[str, tuple[Adapter | None, str]] = {
    "Serial LoRA, r = 8, and the decoder": (SerialLoRA(rank=8), "decoder"),
    "LoRA on q, k, v, o, r = 8, and the decoder": (LoRA(rank=8), "decoder"),
    "image encoder and decoder in full": (None, "all"),
}
GPUS = (8, 64)
GIGABITS = (10, 100)  # a second


def ring(size: int, gpus: int, gigabits: int) -> float:
    """Seconds that it takes to all-reduce some bytes at least."""
    return 2 * (gpus - 1) / gpus * size / (gigabits * 1e9 / 8)


def computed() -> str:
    """A table of SAM ViT-B: what a step sends, and how long that takes at least."""
    head = [f"{gpus} GPUs, {gigabits} Gbit/s, ms" for gpus in GPUS for gigabits in GIGABITS]
    rows = [["SAM ViT-B", "trained", "MB a step", *head]]
    for name, (adapter, parts) in WAYS.items():
        module = SamSegmentation("vit_b", image_size=1024, checkpoint=None)
        Adapt(adapter, **PARTS[parts]).setup(None, module, "fit")  # type: ignore[arg-type]
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        times = [f"{1e3 * ring(4 * trained, gpus, gigabits):.2f}" for gpus in GPUS for gigabits in GIGABITS]
        rows.append([name, f"{trained:,}", f"{4e-6 * trained:.2f}", *times])
    return markdown(*rows)


def counted(backbone: str) -> tuple[str, bool]:
    """A table of what two processes send each other in a few steps; whether this is the first of them."""
    module = SamSegmentation(backbone, image_size=128)
    data = PolypPhantoms(Path(tempfile.gettempdir()) / "graft-communication", train_count=2 * STEPS, val_count=3,
                         batch_size=1, num_workers=0)  # fmt: skip
    adapt = Adapt(SerialLoRA(rank=8), **PARTS["decoder"])
    options = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, num_sanity_val_steps=0, logger=False,
        use_distributed_sampler=False, callbacks=[adapt, Guard(), ExactResume()], **options,
    )  # fmt: skip
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
        trainer.fit(module, data)
    sent: Counter[tuple[str, int]] = Counter()
    for event in record.events():
        if event.name.startswith("gloo:") and event.name != "gloo:barrier":
            sent[event.name.removeprefix("gloo:"), sum(math.prod(shape) for shape in event.input_shapes)] += 1
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    rows = [["operation", "numbers", "times", "MB in all, as float32"]]
    for (name, size), times in sorted(sent.items(), key=lambda item: -item[0][1]):
        rows.append([name, f"{size:,}", str(times), f"{4e-6 * size * times:.3f}"])
    said = (
        f"{backbone}, {STEPS} steps of two processes; {trained:,} trained parameters, {4e-6 * trained:.3f} MB a step:"
    )
    return f"{said}\n\n{markdown(*rows)}", trainer.is_global_zero


def main() -> None:
    """Count, compute, and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--backbone", default="vit_t", help="what the two processes train: vit_t, or tiny")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{RESULTS.name}")
    given = parser.parse_args()
    if given.write:
        split(RESULTS, "communication")  # before the run, not after it
    table, first = counted(given.backbone)
    if first:
        start = "python -m torch.distributed.run --standalone --nproc_per_node=2"
        command = f"{start} benchmarks/communication.py --backbone {given.backbone}"
        text = f"{table}\n\n{computed()}\n\n```\n{command}\n```"
        print(text)
        if given.write:
            insert(RESULTS, "communication", text)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
