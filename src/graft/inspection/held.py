"""Read a checkpoint or an adapter file; what is neither is refused in a sentence that says what it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from graft.adapters.storage import FORMAT
from graft.checkpoint_io import CheckpointError, WholeFiles, check_exists
from graft.inspection.recognise import of_content, of_folder, of_names
from graft.modules.adapted import KEY


@dataclass(frozen=True)
class Held:
    """What a file holds.

    Args:
        kind: What it is.
        adapters: The spec of its adapters (see `graft.adapters.spec`).
        backbone: What they belong to.
        frozen_sha256: Of the backbone's frozen weights.
        shapes: Of what was trained, by its name in the backbone.
        checkpoint: All of it, where it is a checkpoint.
    """

    kind: str
    adapters: Sequence[Mapping[str, Any]]
    backbone: str
    frozen_sha256: str
    shapes: Mapping[str, Sequence[int]]
    checkpoint: Mapping[str, Any]


def read(path: Path) -> Held:
    """Read a file.

    Raises:
        CheckpointError: It is none of Graft's; what it is instead is said, where it can be told.
    """
    if path.is_dir() and (what := of_folder(path)):
        raise CheckpointError(
            f"{path} is neither a checkpoint nor an adapter file of graft: it is the folder of {what}."
        )
    check_exists(path)
    with path.open("rb") as file:
        begins = file.read(9)
    return read_adapters(path) if begins[8:] == b"{" else read_checkpoint(path)


def read_adapters(path: Path) -> Held:
    """Read the head of a safetensors file; its tensors stay on the disk."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({error}): it is damaged. Give another."
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no adapter file of graft: it holds {of_names(shapes)}.")
    adapters = json.loads(metadata["adapters"])
    return Held("an adapter file", adapters, metadata["backbone"], metadata["frozen_sha256"], shapes, {})


def read_checkpoint(path: Path) -> Held:
    """Read a file of torch's."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        content = WholeFiles().load_checkpoint(path)  # which says what is wrong
    if not isinstance(content, dict) or KEY not in content:
        raise CheckpointError(f"{path} is no checkpoint of graft: it holds {of_content(content)}.")
    saved, tensors = content[KEY], content["state_dict"]
    shapes = {name: tensors[f"model.{name}"].shape for name in saved["trained"] if f"model.{name}" in tensors}
    return Held("a checkpoint", saved["adapters"], saved["backbone"], saved["frozen_sha256"], shapes, content)
