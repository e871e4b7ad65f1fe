"""A training step of CLIP ViT-B/16 at 224 px: Graft, and transformers with PEFT's LoRA.

    python benchmarks/clip_step.py [--batch 32] [--layers 12] [--rank 8] [--pairs 7] [--threads 2] [--only NAME ...]
        [--write]

Random weights, the same for all, and random images of 100 classes. The adapters lie in the image tower: LoRA on q, k, v
and o, Serial LoRA before q, k and v. A step is forward, cross-entropy between the images and the classes' names,
backward and AdamW; the text tower is frozen, and is asked once, before the first step, in all of them. stepping.py says
how time and memory are measured.
"""

import argparse
import shlex
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from grid import insert, split
from stepping import measure, serve, table

RESULTS = Path(__file__).parents[1] / "docs" / "performance.md"
NAMES = [f"kind {number}" for number in range(100)]
TEMPLATE = "a photo of a {}."
SIDE = 224
Loss = Callable[[dict[str, Any]], Any]


def write(folder: Path, layers: int) -> None:
    """A random CLIP in the shape of ViT-B/16, and a tokenizer that spells."""
    import torch  # here and below: who only asks the others to step needs none of it
    from transformers import CLIPConfig, CLIPModel

    from graft.backbones.clip import spelling

    torch.manual_seed(0)
    text = {"vocab_size": 514, "bos_token_id": 512, "eos_token_id": 513, "num_hidden_layers": layers}
    config = CLIPConfig(text_config=text, vision_config={"patch_size": 16, "num_hidden_layers": layers})
    CLIPModel(config).save_pretrained(folder)
    spelling().save_pretrained(folder)


def graft(folder: Path, rank: int, method: str = "SerialLoRA") -> tuple[Any, Loss]:
    """What `main.py fit` trains, and its training step."""
    import graft.adapters
    from graft.callbacks import Adapt
    from graft.modules import ClipClassification

    module = ClipClassification(str(folder))
    module.tell_apart([NAMES], TEMPLATE)
    Adapt(getattr(graft.adapters, method)(rank=rank), where=["vision_model"]).setup(None, module, "fit")
    module.log = lambda *_, **__: None
    return module, lambda batch: module.training_step(batch, 0)


def transformers(folder: Path, rank: int) -> tuple[Any, Loss]:
    """The model as it is loaded, and what its documentation would have one do."""
    import peft
    import torch
    import torch.nn.functional as F
    from transformers import CLIPModel, CLIPTokenizer

    clip = CLIPModel.from_pretrained(folder)
    texts = [TEMPLATE.format(name) for name in NAMES]
    tokens = CLIPTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=r"vision_model.*\.(q|k|v|out)_proj")
    peft.inject_adapter_in_model(config, clip)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.no_grad():
        text = F.normalize(clip.get_text_features(**tokens).pooler_output, dim=-1)

    def loss(batch: dict[str, Any]) -> Any:
        pixels = (batch["image"].float() / 255 - mean) / std
        image = F.normalize(clip.get_image_features(pixels).pooler_output, dim=-1)
        return F.cross_entropy(clip.logit_scale.exp() * image @ text.T, batch["label"])

    return clip, loss


WAYS: dict[str, Callable[[Path, int], tuple[Any, Loss]]] = {
    "transformers, PEFT's LoRA": transformers,
    "Graft, LoRA": partial(graft, method="LoRA"),
    "Graft, Serial LoRA": graft,
}


def run(name: str, given: argparse.Namespace) -> None:
    """Build one way, and step when told to."""
    import torch

    torch.set_num_threads(given.threads)
    model, loss = WAYS[name](given.folder, given.rank)
    for key, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in key or ".adapter." in key)
        parameter.data = parameter.data.clone()  # in memory now, where a file was mapped: what is loaded is no step's
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    torch.manual_seed(0)
    images = torch.randint(256, (given.batch, 3, SIDE, SIDE), dtype=torch.uint8)
    batch = {"image": images, "label": torch.randint(len(NAMES), (given.batch,))}

    def step() -> float:
        value = loss(batch)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value.item()

    serve(step, given.threads)


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--batch", type=int, default=32, help="images a step")
    parser.add_argument("--layers", type=int, default=12, help="of each tower")
    parser.add_argument("--rank", type=int, default=8, help="of all adapters")
    parser.add_argument("--pairs", type=int, default=7, help="how often each steps, after one step that warms up")
    parser.add_argument("--threads", type=int, default=2, help="of each process")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), metavar="NAME", help=", ".join(WAYS))
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{RESULTS.name}")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        run(given.serve, given)
        return
    if given.write:
        split(RESULTS, "clip-step")  # before the runs, not after them
    shape = {name: getattr(given, name) for name in ("batch", "layers", "rank", "threads")}
    options = [argument for name, value in shape.items() for argument in (f"--{name}", str(value))]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), given.layers)
        said = measure(__file__, given.only, [*options, "--folder", folder], given.pairs)
    only = [] if given.only == list(WAYS) else ["--only", *given.only]
    command = shlex.join(["python", "benchmarks/clip_step.py", *options, "--pairs", str(given.pairs), *only])
    losses = " and ".join(f"{each[0]['loss']:.4f} ({name})" for name, each in said.items())
    text = f"{table(said)}\n\nThe loss of the first of these steps: {losses}.\n\n```\n{command}\n```"
    print(text)
    if given.write:
        insert(RESULTS, "clip-step", text)


if __name__ == "__main__":
    main()
