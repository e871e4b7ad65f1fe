"""What rules share that set the factors before the first step."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, distributed, nn

from graft.adapters import Adapter, LowRankAdapter
from graft.adapters.places import Place
from graft.adapters.svd import decompose
from graft.rules.base import Rule


class Start(Rule):
    """Sets the first factors of the adapters; what the model computes stays the same."""

    decides = "the start"

    def prepare(self, model: nn.Module) -> None:
        self.sites(model)


class StartFromGradients(Start):
    """Sets the first factors by the weights' gradients.

    Args:
        batches: Training batches that the gradients are averaged over, at least 1, on every process.
    """

    def __init__(self, batches: int = 8) -> None:
        if batches < 1:
            raise ValueError(f"{type(self).__name__}'s batches is {batches}; give a whole number of at least 1.")
        self.batches = batches


def leading(sites: Sequence[Place], matrices: Iterable[Tensor], times: int = 1) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The first singular triples of a matrix for each site; processes that train together share the work.

    Args:
        sites: Places of adapters.
        matrices: One for each, (d_out, d_in), alike on all processes.
        times: As many triples as the site's adapter has ranks, times this.

    Returns:
        U (d_out, n), S (n,) falling and Vh (n, d_in) of each, on its site's device.
    """
    together = distributed.is_available() and distributed.is_initialized()
    mine, all_ = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
    found = []
    for number, (site, matrix) in enumerate(zip(sites, matrices, strict=True)):
        n = times * site.adapter.rank
        if number % all_ == mine:
            parts = decompose(matrix)
            triple = parts["left"][:, :n], parts["values"][:n], parts["right"][:n]
        else:
            triple = matrix.new_empty(len(matrix), n), matrix.new_empty(n), matrix.new_empty(n, matrix.shape[1])
        left, values, right = (part.to(site.weight.device).contiguous() for part in triple)
        found.append((left, values, right))
    for number, triple in enumerate(found if together else []):
        for part in triple:
            distributed.broadcast(part, number % all_)
    return found


@torch.no_grad()
def begin(adapter: Adapter, **factors: Tensor) -> None:
    """Give the factors their first values; their product is subtracted from then on."""
    for name, value in factors.items():
        getattr(adapter, name).copy_(value)
    assert isinstance(adapter, LowRankAdapter)
    adapter.start()
