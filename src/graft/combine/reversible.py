"""Reversible merging (RMM): one basis for several adapters, and coordinates from which each comes back.

    position: a row of B or a column of A, in R^r        X = [x_1 .. x_n], one column for each adapter
    x_i ~ m + U c_i        m the mean, U (r x p) the largest left singular vectors of X - m, c_i = U^T (x_i - m)

Alipour and Amiri, 2025, https://arxiv.org/abs/2510.14163

With p = n - 1 all come back exactly, but p vectors, p n coordinates and a mean are more than the factors themselves: (p
(r + n) + r) / (r n) of them. A smaller p keeps less, and says what it loses. Factors that began at one start are near
each other; the mean of others means little. The form is read off the paper's count of what is stored; r is the largest
rank, smaller ones are filled up with zeros. What was trained beside the adapters is kept for each as it is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.adapters.storage import REVERSIBLE, read, write
from graft.combine.forms import form_of, of_pair
from graft.combine.method import check_rank
from graft.combine.pairs import Pair, total
from graft.combine.result import write_adapter
from graft.combine.sites import described, sites
from graft.combine.sources import Trained


class Basis(NamedTuple):
    """One factor of n adapters, by its P positions.

    Args:
        mean: m, (P, r).
        vectors: U, (P, r, p).
        coordinates: All c_i, (P, p, n).
    """

    mean: Tensor
    vectors: Tensor
    coordinates: Tensor

    def at(self, index: int) -> Tensor:
        """The factor of one adapter, (P, r)."""
        return self.mean + (self.vectors @ self.coordinates[..., index, None])[..., 0]


def basis(factors: Tensor, size: int) -> Basis:
    """The largest principal components at each position, from factors of (n, P, r)."""
    x = factors.permute(1, 2, 0)  # (P, r, n)
    mean = x.mean(-1, keepdim=True)
    vectors = torch.linalg.svd(x - mean, full_matrices=False).U[..., :size]
    return Basis(mean[..., 0], vectors, vectors.mT @ (x - mean))


def write_basis(path: Path, sources: Sequence[Trained], rank: int | None) -> tuple[int, float, float]:
    """Write all adapters into one file.

    Returns:
        The number p of vectors; the largest share of an adapter's norm that is lost; and the values that the file holds
        of the factors, as a share of the adapters'.
    """
    check_rank(rank)
    size = len(sources) - 1 if rank is None else min(rank, len(sources) - 1)
    tensors: dict[str, Tensor] = {}
    forms, losses, given = [], [], 0
    for name, site in sources[0].sites.items():
        pairs = [source.pair(name) for source in sources]
        most = max(len(pair.down) for pair in pairs)
        given += sum(pair.down.numel() + pair.up.numel() for pair in pairs)
        for leaf, factors in {"down": [pair.down.T for pair in pairs], "up": [pair.up for pair in pairs]}.items():
            filled = torch.stack([F.pad(factor, (0, most - factor.shape[1])) for factor in factors])
            parts = basis(filled, size)._asdict()
            tensors |= {f"{name}.{leaf}.{part}": tensor.to(sources[0].dtype(name)) for part, tensor in parts.items()}
        forms.append(replace(site, adapter=form_of(site.adapter)(rank=most)))
        losses.append([(difference(pair, taken(tensors, name, i)), pair.square) for i, pair in enumerate(pairs)])
    metadata = {
        "format": REVERSIBLE,
        "adapters": json.dumps(described(forms)),
        "names": json.dumps([source.path.name for source in sources]),
        "backbone": sources[0].backbone,
        "frozen_sha256": sources[0].frozen_sha256,
    }
    kept = sum(tensor.numel() for tensor in tensors.values())
    beside = {f"parts.{i}.{name}": tensor for i, one in enumerate(sources) for name, tensor in one.parts.items()}
    write(path, tensors | beside, metadata)
    lost, norms = torch.tensor(losses, dtype=torch.float64).sum(0).unbind(-1)  # (n,) each, over all places
    return size, float((lost / norms.clamp_min(torch.finfo(norms.dtype).tiny)).max().sqrt()), kept / given


def extract(path: Path, index: int, output: Path) -> str:
    """Write one of the adapters in a file into one of its own, and say what it was called.

    Raises:
        ValueError: the file is none of `write_basis`, or holds no adapter of this index.
    """
    metadata, tensors = read(path, REVERSIBLE)
    names: list[str] = json.loads(metadata["names"])
    if not 0 <= index < len(names):
        listed = ", ".join(f"{i} ({name})" for i, name in enumerate(names))
        raise ValueError(f"{path} holds no adapter {index}: give --extract one of {listed}.")
    owners = [name.removesuffix(".down.mean") for name in tensors if name.endswith(".down.mean")]
    pairs = {owner: taken(tensors, owner, index) for owner in owners}
    factors = {f"{owner}.{leaf}": factor for owner in owners for leaf, factor in pairs[owner]._asdict().items()}
    found = sites(json.loads(metadata["adapters"]), factors, str(path))
    made = [
        replace(site, adapter=of_pair(pairs[name], form_of(site.adapter), tensors[f"{name}.down.mean"].dtype))
        for name, site in found.items()
    ]
    prefix = f"parts.{index}."
    parts = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    write_adapter(output, made, parts, metadata["backbone"], metadata["frozen_sha256"])
    return names[index]


def taken(tensors: Mapping[str, Tensor], name: str, index: int) -> Pair:
    """The update of one adapter at one place, in float64."""
    down, up = (
        Basis(*(tensors[f"{name}.{leaf}.{part}"].double() for part in Basis._fields)).at(index)
        for leaf in ("down", "up")
    )
    return Pair(down.T, up)


def difference(one: Pair, other: Pair) -> float:
    """The squared norm of what lies between two updates."""
    return max(total([one, other], [1.0, -1.0]).square, 0.0)
