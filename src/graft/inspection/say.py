"""What a file holds, in words."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.markup import escape
from rich.table import Table

from graft.inspection.held import Held
from graft.modules.adapted import KEY

EXCERPT = {
    "model": ("backbone", "image_size", "prompt", "num_classes", "head"),
    "data": ("root", "batch_size", "shots", "classes"),
    "model.init_args.optimizer": ("lr", "weight_decay"),
    "model.init_args.lr_scheduler": ("max_lr", "total_steps"),
    "trainer": ("max_epochs", "max_steps", "accumulate_grad_batches", "precision"),
}
"""Of each part of a configuration, what is shown."""


def of_adapters(held: Held) -> Iterator[tuple[str, str]]:
    """Methods with their options, places, and what they belong to."""
    for entry in held.adapters:
        options = ", ".join(f"{name} {value}" for name, value in entry["options"].items() if value is not None)
        yield "method", f"{entry['method'].rsplit('.', 1)[-1]}: {options or 'no options'}"
        yield "on", f"{', '.join(entry['targets'])} in {len(entry['where'])} blocks: {shortened(entry['where'])}"
    sites = {name.partition(".adapter.")[0] for name in held.shapes if ".adapter." in name}
    yield ("sites", str(len(sites))) if sites else ("method", "no adapter: whole parts were trained")
    yield "backbone", f"{held.backbone}, frozen weights with SHA-256 {held.frozen_sha256[:16]}..."


def of_sizes(held: Held) -> Iterator[tuple[str, str | Table]]:
    """Values of the adapters, and of each part that was trained beside them."""
    parts = Counter[str]()
    for name, shape in held.shapes.items():
        parts["adapters" if ".adapter." in name else name.partition(".")[0]] += prod(shape)
    sizes = Table.grid(padding=(0, 3))
    sizes.add_column()
    sizes.add_column(justify="right")
    for part, count in [*parts.items(), *([("together", sum(parts.values()))] if len(parts) > 1 else [])]:
        sizes.add_row(escape(part), f"{count:,}")
    yield "trained values", sizes


def of_run(checkpoint: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where a run had come to, its scores, and what made it."""
    if not checkpoint:
        return
    optimizer = sum(t.numel() * t.element_size() for t in tensors(checkpoint.get("optimizer_states", [])))
    yield (
        "to go on with",
        f"step {checkpoint['global_step']}, epoch {checkpoint['epoch']}; {optimizer / 1e6:,.2f} MB of optimizer",
    )
    callbacks = checkpoint.get("callbacks", {})
    for state in (state for name, state in callbacks.items() if name.startswith("Checkpoints")):
        scores = {
            "before the first step": callbacks.get("Summary", {}).get("first"),
            "here": state["current_score"],
            f"best ({Path(state['best_model_path']).name})": state["best_model_score"],
        }
        said = [f"{float(score):.4f} {when}" for when, score in scores.items() if score is not None]
        yield str(state["monitor"] or "score"), ", ".join(said) or "none yet"
    if names := checkpoint[KEY].get("names"):
        yield "classes", f"{len(names)}: {shortened(names)}, as {checkpoint[KEY]['template']!r}"
    if "config" in checkpoint:
        yield from of_config(yaml.safe_load(checkpoint["config"]))


def of_config(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The few lines of a configuration that tell one run from another."""
    for part, shown in EXCERPT.items():
        entry: Any = config
        for key in part.split("."):
            entry = (entry or {}).get(key)
        if entry:
            options = {name: entry.get("init_args", entry).get(name) for name in shown}
            given = ", ".join(f"{name} {value}" for name, value in options.items() if value not in (None, -1))
            kind = str(entry.get("class_path", "")).rpartition(".")[2]
            yield part.rpartition(".")[2], f"{kind}: {given}" if kind else given


def shortened(names: Sequence[str], most: int = 4) -> str:
    """The first names and the last."""
    return ", ".join(names if len(names) <= most else [*names[: most - 1], "...", names[-1]])


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested lists and dictionaries."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping | list):
        for below in value.values() if isinstance(value, Mapping) else value:
            yield from tensors(below)
