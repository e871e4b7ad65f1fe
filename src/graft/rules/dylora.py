"""DyLoRA: one training for all ranks. In each step only the first b pairs take part, b drawn at random.

    W' = W + (alpha / b) sum_{i <= b} b_i a_i        b ~ uniform {1, ..., r}

a_i (d_in) is row i of A (`down`, r x d_in), b_i (d_out) column i of B (`up`, d_out x r); one b for all adapters. With
the adapter's own s = alpha / r the gates of the first b pairs are r / b, the others 0; they are not trained.
Valipour et al., EACL 2023, https://arxiv.org/abs/2210.07558

After each step all pairs are open, so validation and checkpoints see the largest rank; `use` sets a smaller one for
good. As in the authors' script only pair b learns from a step; what optimizers do without gradients (momentum, weight
decay) moves the others, there as here.
"""

import torch
from torch import Tensor, nn

from graft.rules.draws import generator
from graft.rules.gates import GateRule


class DyLoRA(GateRule):
    """W' = W + (alpha / b) sum of the first b pairs, b drawn for each step: any rank can be used (arXiv 2210.07558).

    Args:
        frozen: Only pair b learns in a step that draws b, rather than all pairs up to b.
        seed: Of the drawn ranks.
    """

    def __init__(self, frozen: bool = True, seed: int = 0) -> None:
        self.frozen = frozen
        self.seed = seed

    def prepare(self, model: nn.Module) -> None:
        self.largest = max(adapter.rank for adapter in self.gated(model))

    def rank_at(self, step: int) -> int:
        """The rank b of optimizer step number `step`, from 1."""
        return int(torch.randint(1, self.largest + 1, (), generator=generator(self.seed, step)))

    @torch.no_grad()
    def use(self, model: nn.Module, rank: int) -> None:
        """Let the adapters have only their first `rank` pairs from now on; `save` then writes no others.

        Raises:
            ValueError: there are fewer.
        """
        for adapter in self.gated(model):
            if not 1 <= rank <= adapter.rank:
                raise ValueError(f"rank {rank} was given; this model was trained for ranks 1 to {adapter.rank}.")
            adapter.gate.zero_()[:rank] = adapter.rank / rank

    def before_batch(self, model: nn.Module, step: int) -> None:
        self.use(model, self.rank_at(step))

    def after_batch(self, model: nn.Module) -> None:
        self.use(model, self.largest)

    def before_step(self, model: nn.Module, step: int) -> None:
        others = torch.arange(self.largest) != self.rank_at(step) - 1  # (r,)
        for adapter in self.gated(model):
            adapter.gate.grad = None
            if self.frozen:
                clear(adapter.down.grad, others)
                clear(None if adapter.up.grad is None else adapter.up.grad.T, others)


def clear(gradient: Tensor | None, rows: Tensor) -> None:
    """Let these rows of a gradient be 0."""
    if gradient is not None:
        gradient[rows.to(gradient.device)] = 0
