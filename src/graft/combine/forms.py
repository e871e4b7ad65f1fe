"""What a combination is written as: an adapter that `graft.adapters.load` makes again."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from graft.adapters import Adapter, InputAdapter, LoRA, OrthogonalLoRA, SerialLoRA
from graft.combine.method import Method
from graft.combine.pairs import Pair, nearest
from graft.combine.sites import Site
from graft.combine.sources import Trained


def pairs_at(name: str, sources: Sequence[Trained], method: Method) -> list[Pair]:
    """All updates at one place. OrthogonalLoRAs of one seed are in coordinates of their common rows."""
    span = common_rows(name, sources, method)
    return [source.pair(name) if span is None else in_rows(source.sites[name].adapter, *span) for source in sources]


def site_of(name: str, pair: Pair, sources: Sequence[Trained], method: Method) -> Site:
    """A combined update as an adapter: a LoRA or a Serial LoRA with alpha = rank, all scales in its `up`.

    OrthogonalLoRAs of one seed stay one where the method allows it: their rows are in no file, and need not be.
    """
    site, dtype = sources[0].sites[name], sources[0].dtype(name)
    if (span := common_rows(name, sources, method)) is not None:
        return replace(site, adapter=of_rows(pair, site, *span, dtype))
    return replace(site, adapter=of_pair(pair, form_of(site.adapter), dtype))


def form_of(adapter: Adapter) -> type[LoRA | SerialLoRA]:
    """The plain method of an adapter's kind."""
    return SerialLoRA if isinstance(adapter, InputAdapter) else LoRA


def of_pair(pair: Pair, form: type[LoRA | SerialLoRA], dtype: torch.dtype) -> Adapter:
    """The pair as an adapter; where its rank is more than the layer can have, cut to that, and none of it is lost."""
    most = min(pair.down.shape[1], pair.up.shape[0])
    if len(pair.down) > most:
        pair = nearest(pair, most).pair
    adapter = form(rank=len(pair.down))
    adapter.down, adapter.up = nn.Parameter(pair.down.to(dtype)), nn.Parameter(pair.up.to(dtype))
    return adapter


def common_rows(name: str, sources: Sequence[Trained], method: Method) -> tuple[int, int] | None:
    """Rank and concept of the smallest OrthogonalLoRA that has the rows of all; None if not all are of one seed."""
    adapters = [source.sites[name].adapter for source in sources]
    owners = [adapter for adapter in adapters if isinstance(adapter, OrthogonalLoRA)]
    if not method.rotates or len(owners) < len(adapters) or len({owner.seed for owner in owners}) > 1:
        return None
    first = min(owner.concept * owner.rank for owner in owners)
    end = max((owner.concept + 1) * owner.rank for owner in owners)
    rank = next(rank for rank in range(end - first, end + 1) if (first // rank + 1) * rank == end)
    return rank, first // rank


def in_rows(adapter: Adapter, rank: int, concept: int) -> Pair:
    """The update in coordinates of those rows: down says which are the adapter's own."""
    assert isinstance(adapter, OrthogonalLoRA)
    offset = adapter.concept * adapter.rank - concept * rank
    own = torch.eye(rank, dtype=torch.float64)[offset : offset + adapter.rank]
    return Pair(own, adapter.scale * adapter.up.detach())


def of_rows(pair: Pair, site: Site, rank: int, concept: int, dtype: torch.dtype) -> Adapter:
    """Back from coordinates.

    Raises:
        ValueError: the rows are more than the layer can have.
    """
    assert isinstance(site.adapter, OrthogonalLoRA)
    up: Tensor = pair.up @ pair.down
    if rank > len(up):
        raise ValueError(
            f"{site.name}: the concepts span {rank} rows of the orthogonal matrix, more than the layer's {len(up)} "
            "outputs: train with concepts that are nearer to each other."
        )
    adapter = OrthogonalLoRA(rank, concept=concept, seed=site.adapter.seed)
    adapter.up = nn.Parameter(up.to(dtype))
    return adapter
