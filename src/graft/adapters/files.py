"""Adapter files: everything that was trained and what it was trained on, as safetensors.

An adapter without the decoder or head that was trained beside it predicts nothing: the file holds all that was trained.
Its metadata says how to put the adapters back (`spec`) and which frozen weights they belong to (`fingerprint`).
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from graft.adapters.base import Adapter
from graft.adapters.many import keeping, shelf
from graft.adapters.places import at_size
from graft.adapters.spec import restore, spec
from graft.adapters.storage import FORMAT, read, write


def save(model: nn.Module, path: str | Path) -> None:
    """Write what was trained (every parameter that requires a gradient) and how to load it again.

    Written beside and renamed, so that a file under this name is always whole. Adapters of which training has left
    parts without use are written without these.

    Raises:
        ValueError: nothing in the model is trained.
    """
    with at_size(model):
        tensors, adapters = trained(model), spec(model)
    if not tensors:
        raise ValueError("Nothing in the model requires a gradient, so there is nothing to save: inject an adapter.")
    metadata = {
        "format": FORMAT,
        "adapters": json.dumps(adapters),
        "backbone": getattr(model, "name", type(model).__name__),
        "frozen_sha256": fingerprint(frozen(model, tensors)),
    }
    write(path, tensors, metadata)


def load(model: nn.Module, path: str | Path, name: str | None = None) -> None:
    """Put a saved adapter, and whatever else was trained with it, into its backbone.

    Args:
        model: A fresh copy of the backbone; with a name, one that keeps other adapters by name will do.
        path: A file made by `save`.
        name: The adapter is kept in the model under this name and becomes active; `use` switches between several. None:
            the model holds this adapter alone.

    Raises:
        ValueError: the file is no adapter file, belongs to other weights, or its tensors do not fit the model; or the
            model is adapted already, or keeps adapters by name and this one has none or another's.
    """
    metadata, tensors = read(path)
    if name is None and (kept := shelf(model).kept):
        raise ValueError(f"The model keeps adapters by name ({', '.join(kept)}): give {path} a name, too.")
    with nullcontext() if name is None else keeping(model, name, tensors):
        if held := {entry["method"].rpartition(".")[2] for entry in spec(model)}:
            raise ValueError(f"The model holds {', '.join(sorted(held))} already: load {path} into a fresh copy of it.")
        if fingerprint(frozen(model, tensors)) != metadata["frozen_sha256"]:
            own = getattr(model, "name", type(model).__name__)
            raise ValueError(f"{path} was trained on other weights ({metadata['backbone']}) than this model's ({own}).")
        restore(model, json.loads(metadata["adapters"]))
        copy_trained(model, tensors, str(path))


def trained(model: nn.Module) -> dict[str, Tensor]:
    """What training changes, by name: parameters that require a gradient, and the buffers (BatchNorm's) beside them."""
    changing = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    owners = {name.rpartition(".")[0] for name in changing}
    kept = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in kept}
    return changing | {name: buffer for name, buffer in buffers.items() if name.rpartition(".")[0] in owners}


def frozen(model: nn.Module, changing: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters that training leaves alone, by name: what identifies a backbone."""
    return {name: parameter for name, parameter in model.named_parameters() if name not in changing}


def copy_trained(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy saved tensors into the model and train exactly these; a name or shape that does not fit is refused."""
    make_room(model, tensors)
    state: dict[str, Tensor] = dict([*model.named_parameters(), *model.named_buffers()])
    adapters = {name for name in state if ".adapter." in f".{name}" and name in model.state_dict()}
    for name in sorted({*tensors, *adapters}):
        if name not in state:
            raise ValueError(f"{source} holds {name}, which this model does not have.")
        if name not in tensors:
            raise ValueError(f"{source} lacks {name}, which this model's adapters need.")
        if state[name].shape != tensors[name].shape:
            given, needed = tuple(tensors[name].shape), tuple(state[name].shape)
            raise ValueError(f"{source} holds {name} of shape {given}; this model needs {needed}.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in tensors)
    for name, tensor in tensors.items():
        state[name].data.copy_(tensor)


def make_room(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give adapters the buffers that a run has filled and `setup` leaves open: a start pair, a basis found in data."""
    modules = dict(model.named_modules())
    for name, tensor in tensors.items():
        owner, _, leaf = name.rpartition(".")
        if isinstance(adapter := modules.get(owner), Adapter) and leaf in adapter._buffers:
            like = next(adapter.parameters())
            adapter.register_buffer(leaf, torch.zeros_like(tensor, device=like.device, dtype=like.dtype))


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)  # the bytes themselves, not a copy
    return digest.hexdigest()
