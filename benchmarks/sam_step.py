"""A training step of SAM ViT-B: Graft, segment-anything with PEFT's LoRA, transformers with PEFT's LoRA.

    python benchmarks/sam_step.py [--size 1024] [--batch 1] [--rank 8] [--pairs 7] [--threads 2] [--write]

Random weights and images; no prompts; the adapters lie in the image encoder, the mask decoder is trained whole, and a
step is forward, loss (cross-entropy and soft Dice at the size of the image), backward and AdamW. Serial LoRA adapts the
input of q, k and v; LoRA adapts qkv and proj. Each lives in a process of its own, and they step in turn, one at a time,
in the one order and in the other; so each round gives a ratio to the first, and the table has their median and range.
With one thread the time is the processor's, which other processes disturb less. The peak is that of the process's
resident memory during a step, above what it was with the model loaded (Linux); it is the largest of all rounds.
"""

import argparse
import ctypes
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from grid import insert, markdown, split

RESULTS = Path(__file__).parents[1] / "docs" / "performance.md"
Loss = Callable[[dict[str, Any]], Any]


def ours(size: int, rank: int, method: str = "SerialLoRA", bf16: bool = False, **options: Any) -> tuple[Any, Loss]:
    """What `main.py fit` trains, and its training step."""
    import torch  # here and below: who only asks the others to step needs none of it

    import graft.adapters
    from graft.callbacks import Adapt
    from graft.modules import SamSegmentation

    module = SamSegmentation("vit_b", image_size=size, checkpoint=None, **options)
    adapter = getattr(graft.adapters, method)(rank=rank)
    Adapt(adapter, where=["image_encoder"], train=["mask_decoder"]).setup(None, module, "fit")
    module.log = lambda *_, **__: None

    def loss(batch: dict[str, Any]) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return module.training_step(batch, 0)

    return module, loss


def lora(model: Any, targets: str, rank: int) -> None:
    """PEFT's LoRA in the layers that a regular expression names; the mask decoder is trained whole."""
    import peft

    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)
    peft.inject_adapter_in_model(config, model)
    model.mask_decoder.requires_grad_(True)


def judged(masks: Any, batch: dict[str, Any]) -> Any:
    """Graft's loss of masks at a quarter of the image's size."""
    import torch.nn.functional as F

    from graft.losses import SegmentationLoss

    truth = batch["mask"]
    logits = F.interpolate(masks, truth.shape[1:], mode="bilinear", align_corners=False)
    return SegmentationLoss()(logits, truth, (truth >= 0))["loss"]


def segment_anything(size: int, rank: int) -> tuple[Any, Loss]:
    """The published package's parts, for this size."""
    import segment_anything.modeling as stock
    from torch import nn

    sam = stock.Sam(
        stock.ImageEncoderViT(
            img_size=size,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=(2, 5, 8, 11),
        ),
        stock.PromptEncoder(256, (size // 16, size // 16), (size, size), mask_in_chans=16),
        stock.MaskDecoder(transformer_dim=256, transformer=stock.TwoWayTransformer(2, 256, 8, 2048)),
    )
    lora(sam, r"image_encoder\.blocks\.\d+\.attn\.(qkv|proj)", rank)

    def loss(batch: dict[str, Any]) -> Any:
        embedding = sam.image_encoder(sam.preprocess(batch["image"].float()))
        sparse, dense = sam.prompt_encoder(points=None, boxes=None, masks=None)
        masks, _ = sam.mask_decoder(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=False)
        return judged(masks, batch)

    return sam, loss


def transformers(size: int, rank: int) -> tuple[Any, Loss]:
    """The model of transformers, whose default configuration is ViT-B, for this size."""
    import torch
    from transformers import SamConfig, SamModel

    prompts = {"image_size": size, "image_embedding_size": size // 16}
    sam = SamModel(SamConfig(vision_config={"image_size": size}, prompt_encoder_config=prompts))
    lora(sam, r"vision_encoder\.layers\.\d+\.attn\.(qkv|proj)", rank)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))

    def loss(batch: dict[str, Any]) -> Any:
        said = sam(pixel_values=(batch["image"].float() - mean) / std, multimask_output=False)
        return judged(said.pred_masks[:, 0], batch)

    return sam, loss


WAYS: dict[str, Callable[[int, int], tuple[Any, Loss]]] = {
    "segment-anything, PEFT's LoRA": segment_anything,
    "transformers, PEFT's LoRA": transformers,
    "Graft, LoRA": partial(ours, method="LoRA"),
    "Graft, Serial LoRA": ours,
    "Graft, Serial LoRA, gradient checkpointing": partial(ours, gradient_checkpointing=True),
    "Graft, Serial LoRA, bf16": partial(ours, bf16=True),
}


def resident(field: str) -> int:
    """Bytes of this process's memory: VmRSS now, VmHWM at the most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def serve(name: str, size: int, batch: int, rank: int, threads: int) -> None:
    """Build one way; then, for each line that comes in, do a step and say its seconds and peak."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, loss = WAYS[name](size, rank)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    sample = {
        "image": torch.randint(256, (batch, 3, size, size), dtype=torch.uint8),
        "size": torch.full((batch, 2), size),
        "mask": torch.zeros(batch, size, size, dtype=torch.uint8),
    }
    sample["mask"][:, size // 4 : size // 2, size // 4 : size // 2] = 1
    clock = time.process_time if threads == 1 else time.perf_counter
    trim = ctypes.CDLL("libc.so.6").malloc_trim  # what was freed is given back: to the next step, and to the others
    trim(0)
    loaded = resident("VmRSS")
    for _ in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        start = clock()
        loss(sample).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds = clock() - start
        print(json.dumps({"seconds": seconds, "peak": resident("VmHWM") - loaded}), flush=True)
        trim(0)


class Stepper:
    """A process that steps when it is told to."""

    def __init__(self, name: str, options: list[str]) -> None:
        command = [sys.executable, __file__, *options, "--serve", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = name

    def step(self) -> dict[str, float]:
        """Seconds and peak of one.

        Raises:
            SystemExit: The process ended.
        """
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write("step\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended before: what it had to say it has said on stderr
        if not (said := self.process.stdout.readline()):
            raise SystemExit(f"error: {self.name} ended with exit code {self.process.wait()}, as said above.")
        answer: dict[str, float] = json.loads(said)
        return answer

    def end(self) -> None:
        """Let it go."""
        self.process.kill()
        self.process.wait()


def measure(names: list[str], options: list[str], pairs: int) -> dict[str, list[dict[str, float]]]:
    """What each said, round by round; the first, which warms up, is left out."""
    steppers = []
    said: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    try:
        for name in names:
            steppers.append(Stepper(name, options))
            steppers[-1].step()  # one after the other: loading, too, takes memory
        for number in range(pairs):
            for stepper in steppers[:: -1 if number % 2 else 1]:
                said[stepper.name].append(stepper.step())
            print(f"round {number + 1} of {pairs}", file=sys.stderr, flush=True)
    finally:
        for stepper in steppers:
            stepper.end()
    return said


def table(said: dict[str, list[dict[str, float]]]) -> str:
    """A row for each way; the first is what the others are compared with."""
    base = next(iter(said.values()))
    least = max(each["peak"] for each in base)
    rows = [["", "time", "peak memory", "peak memory, GB"]]
    for name, each in said.items():
        ratios = sorted(a["seconds"] / b["seconds"] for a, b in zip(each, base, strict=True))
        peak = max(one["peak"] for one in each)
        time_ratio = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if each is not base else "1"
        rows.append([name, time_ratio, f"{peak / least:.2f}" if each is not base else "1", f"{peak / 1e9:.2f}"])
    return markdown(*rows)


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--size", type=int, default=1024, help="height and width of the images, a multiple of 16")
    parser.add_argument("--batch", type=int, default=1, help="images a step")
    parser.add_argument("--rank", type=int, default=8, help="of all adapters")
    parser.add_argument("--pairs", type=int, default=7, help="how often each steps, after one step that warms up")
    parser.add_argument("--threads", type=int, default=2, help="of each process")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{RESULTS.name}")
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.size, given.batch, given.rank, given.threads)
        return
    if given.write:
        split(RESULTS, "sam-step")  # before the runs, not after them
    shape = {name: getattr(given, name) for name in ("size", "batch", "rank", "threads")}
    options = [argument for name, value in shape.items() for argument in (f"--{name}", str(value))]
    said = measure(given.only, options, given.pairs)
    only = [] if given.only == list(WAYS) else ["--only", *given.only]
    command = shlex.join(["python", "benchmarks/sam_step.py", *options, "--pairs", str(given.pairs), *only])
    text = f"{table(said)}\n\n```\n{command}\n```"
    print(text)
    if given.write:
        insert(RESULTS, "sam-step", text)


if __name__ == "__main__":
    main()
