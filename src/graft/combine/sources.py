"""What is given: trained adapters, from files of `graft.adapters.save` or from checkpoints, without their backbone."""

import copy
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graft.adapters import Adapter
from graft.adapters.places import places
from graft.adapters.storage import read
from graft.checkpoint_io import WholeFiles
from graft.combine.factors import factors
from graft.combine.pairs import Pair
from graft.combine.sites import Site, sites
from graft.modules.adapted import KEY
from graft.run import open_run


@dataclass(frozen=True)
class Trained:
    """All that was trained: adapters, and parts of the backbone beside them.

    Args:
        path: The file.
        entries: The adapters' spec, as plain values.
        tensors: By the model's names.
        backbone: Its name.
        frozen_sha256: Hash of the weights that were not trained.
        classes: What a linear head tells apart, where that is known.
    """

    path: Path
    entries: list[dict[str, Any]]
    tensors: dict[str, Tensor]
    backbone: str
    frozen_sha256: str
    classes: list[str] = field(default_factory=list)

    @cached_property
    def sites(self) -> dict[str, Site]:
        """Its adapters by name."""
        return sites(self.entries, self.tensors, str(self.path))

    @cached_property
    def parts(self) -> dict[str, Tensor]:
        """What was trained beside the adapters, by name."""
        return {name: tensor for name, tensor in self.tensors.items() if name.rpartition(".")[0] not in self.sites}

    @cached_property
    def whole(self) -> dict[str, Adapter]:
        """Its adapters by name, in the backbone that they belong to: this builds it."""
        model = open_run(self.path).module.model
        names = {id(module): name for name, module in model.named_modules()}
        return {names[id(place.adapter)]: place.adapter for place in places(model)}

    def dtype(self, name: str) -> torch.dtype:
        """In which an adapter was trained."""
        return next(tensor.dtype for key, tensor in self.tensors.items() if key.startswith(f"{name}."))

    def pair(self, name: str) -> Pair:
        """An adapter's update, in float64.

        Raises:
            ValueError: it is no product of thin matrices, or follows from weights that the file does not hold.
        """
        adapter = self.sites[name].adapter
        try:
            down, up = factors(adapter)
        except AttributeError as error:  # of a factor that `setup` would have made
            if self.path.suffix != ".ckpt":
                raise ValueError(
                    f"{self.path} holds {type(adapter).__name__}, whose frozen factors follow from the backbone and "
                    "are in no file: give the checkpoint (.ckpt) of its run instead."
                ) from error
            down, up = factors(copy.deepcopy(self.whole[name]).double())
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        return Pair(down.detach(), up.detach())


def open_trained(path: Path) -> Trained:
    """Read an adapter file, or a checkpoint.

    Raises:
        ValueError: It is no adapter file, holds no adapter, or is damaged.
        CheckpointError: It is no checkpoint that graft has written.
    """
    found = from_checkpoint(path) if path.suffix == ".ckpt" else from_file(path)
    if broken := [name for name, tensor in found.tensors.items() if not tensor.isfinite().all()]:
        raise ValueError(f"{path} holds NaN or infinite values in {broken[0]}: it is damaged; give another.")
    if not found.sites:
        raise ValueError(f"{path} holds no adapter, only parts that were trained whole: there is nothing to combine.")
    return found


def from_file(path: Path) -> Trained:
    metadata, tensors = read(path)
    return Trained(path, json.loads(metadata["adapters"]), tensors, metadata["backbone"], metadata["frozen_sha256"])


def from_checkpoint(path: Path) -> Trained:
    checkpoint = WholeFiles().load_checkpoint(path)
    if KEY not in checkpoint:
        raise ValueError(f"{path} was not made by graft: it does not say which adapter it holds.")
    saved = checkpoint[KEY]
    state = {name.removeprefix("model."): tensor for name, tensor in checkpoint["state_dict"].items()}
    if lost := {*saved["trained"]} - state.keys():
        raise ValueError(f"{path} lacks {min(lost)}, which was trained: it is damaged or was cut.")
    tensors = {name: state[name] for name in saved["trained"]}
    return Trained(
        path, saved["adapters"], tensors, saved["backbone"], saved["frozen_sha256"], saved.get("names", [])
    )  # fmt: skip
