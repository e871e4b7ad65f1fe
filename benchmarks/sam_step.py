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
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from grid import insert, split
from stepping import measure, serve, table

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


def run(name: str, size: int, batch: int, rank: int, threads: int) -> None:
    """Build one way; then, for each line that comes in, do a step and say what it took."""
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

    def step() -> float:
        value = loss(sample)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(value.detach())

    serve(step, threads)


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
        run(given.serve, given.size, given.batch, given.rank, given.threads)
        return
    place = f"sam-step-{given.size}"
    if given.write:
        split(RESULTS, place)  # before the runs, not after them
    shape = {name: getattr(given, name) for name in ("size", "batch", "rank", "threads")}
    options = [argument for name, value in shape.items() for argument in (f"--{name}", str(value))]
    said = measure(__file__, given.only, options, given.pairs)
    only = [] if given.only == list(WAYS) else ["--only", *given.only]
    command = shlex.join(["python", "benchmarks/sam_step.py", *options, "--pairs", str(given.pairs), *only])
    text = f"{table(said)}\n\n```\n{command}\n```"
    print(text)
    if given.write:
        insert(RESULTS, place, text)


if __name__ == "__main__":
    main()
