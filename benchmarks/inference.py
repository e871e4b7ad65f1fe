"""After training: a merged network against the untouched one, and SAM's encoder against segment-anything's.

    python benchmarks/inference.py [--sam vit_b] [--side 256] [--layers 4] [--batch 2] [--pairs 7] [--write]

Random weights, the same for all, without gradients, on one thread; stepping.py says how time and memory are measured.
Serial LoRA of rank 8 lies before q, k and v of every block. What should say the same is held to do so.
"""

import argparse
import math
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from grid import insert, split
from segment_anything.modeling import ImageEncoderViT
from stepping import measure, serve, table
from torch import Tensor, nn

from graft.adapters import SerialLoRA, inject, merge
from graft.backbones import build_sam
from graft.backbones.build import PLANS, ViT

DOCS = Path(__file__).parents[1] / "docs" / "performance.md"
CLIP_SIDE = 224


def random(model: nn.Module, which: Callable[[str], bool]) -> None:
    """Values for parameters that start at 0, the same every time."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if which(name):
            nn.init.normal_(parameter, std=0.02, generator=generator)


def sam(given: argparse.Namespace) -> nn.Module:
    """Graft's image encoder."""
    encoder: nn.Module = build_sam(given.sam, given.side, None).image_encoder
    random(encoder, lambda name: "pos" in name)
    return encoder


def published(given: argparse.Namespace) -> nn.Module:
    """Segment-anything's, with the same weights; the table of positions is resized once."""
    plan, ours = PLANS[given.sam], sam(given)
    assert isinstance(plan, ViT)
    encoder = ImageEncoderViT(
        embed_dim=plan.width, depth=plan.depth, num_heads=plan.heads, out_chans=plan.channels, use_rel_pos=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6), window_size=14, global_attn_indexes=plan.global_blocks,
    )  # fmt: skip
    encoder.load_state_dict(ours.state_dict())
    encoder.pos_embed = nn.Parameter(ours.positions().detach())
    return encoder


def clip(given: argparse.Namespace) -> nn.Module:
    """CLIP's image tower in the width of ViT-B/16."""
    from against_peft import clip_tower  # here: whoever serves a SAM need not wait for transformers

    torch.manual_seed(0)
    return clip_tower(given.layers, 768, CLIP_SIDE)


def adapted(model: nn.Module) -> None:
    """With Serial LoRA that is no identity."""
    torch.manual_seed(0)
    inject(model, SerialLoRA(8))
    random(model, lambda name: name.endswith("adapter.up"))


def merged(model: nn.Module) -> None:
    """With Serial LoRA in its weights."""
    adapted(model)
    merge(model)


NETWORKS = {"Graft": sam, "segment-anything": published, "CLIP": clip}
WAYS = {"untouched": lambda model: None, "merged": merged, "before merging": adapted}
TABLES = {  # of each, the last two say the same
    "Serial LoRA in SAM's encoder": ["Graft, untouched", "Graft, merged", "Graft, before merging"],
    "Serial LoRA in CLIP's image tower": ["CLIP, untouched", "CLIP, merged", "CLIP, before merging"],
    "SAM's encoder against segment-anything's": ["segment-anything, untouched", "Graft, untouched"],
}


def step(name: str, given: argparse.Namespace) -> Callable[[], float]:
    """A forward pass, which gives the largest number that comes out."""
    network, way = name.split(", ")
    model, side = NETWORKS[network](given).eval(), CLIP_SIDE if network == "CLIP" else given.side
    WAYS[way](model)
    images = torch.randn(given.batch, 3, side, side, generator=torch.Generator().manual_seed(0))

    def forward() -> float:
        with torch.inference_mode():
            said = model(images)
            features: Tensor = said if isinstance(said, Tensor) else said.last_hidden_state
            return float(features.abs().max())

    return forward


def main() -> None:
    """Measure each table's ways in turn, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sam", choices=[name for name, plan in PLANS.items() if isinstance(plan, ViT)], default="vit_b"
    )
    parser.add_argument("--side", type=int, default=256, help="of SAM's images, in pixels")
    parser.add_argument("--layers", type=int, default=4, help="of CLIP's tower; ViT-B has 12")
    parser.add_argument("--batch", type=int, default=2, help="images a step")
    parser.add_argument("--pairs", type=int, default=7, help="how often each is measured")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{DOCS.name}")
    parser.add_argument("--serve", metavar="NAME", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        torch.set_num_threads(1)
        serve(step(given.serve, given), threads=1)
        return
    if given.write:
        split(DOCS, "inference")  # before the measuring, not after it
    told = {name: str(getattr(given, name)) for name in ("sam", "side", "layers", "batch", "pairs")}
    options = [word for name, value in told.items() for word in (f"--{name}", value)]
    texts = []
    for title, names in TABLES.items():
        said = measure(__file__, names, options, given.pairs)
        one, other = (said[name][0]["loss"] for name in names[-2:])
        if not math.isclose(one, other, rel_tol=1e-4):
            sys.exit(f"error: {names[-2]} and {names[-1]} differ: {one} and {other}.")
        texts.append(f"{title}:\n\n{table(said)}")
        print(f"{texts[-1]}\n", flush=True)
    command = shlex.join(["python", "benchmarks/inference.py", *options])
    print(command)
    if given.write:
        insert(DOCS, "inference", "\n\n".join([*texts, f"```\n{command}\n```"]))


if __name__ == "__main__":
    main()
