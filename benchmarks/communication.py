"""Count what two processes send each other while they train LiteMedSAM with Serial LoRA.

python -m torch.distributed.run --standalone --nproc_per_node=2 benchmarks/communication.py
"""

import math
import tempfile
from collections import Counter
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torch.profiler import ProfilerActivity, profile

from graft.adapters import SerialLoRA
from graft.callbacks import Adapt, ExactResume, Guard
from graft.data import PolypPhantoms
from graft.modules import SamSegmentation

STEPS = 4


def main() -> None:
    module = SamSegmentation("vit_t", image_size=128)
    data = PolypPhantoms(Path(tempfile.gettempdir()) / "graft-communication", train_count=2 * STEPS, val_count=3,
                         batch_size=1, num_workers=0)  # fmt: skip
    adapt = Adapt(SerialLoRA(rank=8), where=["image_encoder"], train=["mask_decoder"])
    options = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, num_sanity_val_steps=0, logger=False,
        use_distributed_sampler=False, callbacks=[adapt, Guard(), ExactResume()], **options,
    )  # fmt: skip
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as record:
        trainer.fit(module, data)
    if trainer.is_global_zero:
        sent: Counter[tuple[str, int]] = Counter()
        for event in record.events():
            if event.name.startswith("gloo:") and event.name != "gloo:barrier":
                sent[event.name.removeprefix("gloo:"), sum(math.prod(shape) for shape in event.input_shapes)] += 1
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        print(f"{STEPS} steps; {trained:,} of {sum(p.numel() for p in module.parameters()):,} parameters are trained")
        print(f"{'operation':<14}{'numbers':>12}{'times':>8}{'MB in all, as float32':>24}")
        for (name, size), times in sorted(sent.items(), key=lambda item: -item[0][1]):
            print(f"{name:<14}{size:>12,}{times:>8}{4e-6 * size * times:>24.3f}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
