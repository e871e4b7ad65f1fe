"""How a block keeps its projections: the only file that knows.

Every attention block and MLP of the networks below is described in the same words: `projections`, which linear layer
(and which of its rows) is q, k, v, o, fc1 or fc2, and `reader`, the one module through which q, k and v read a tensor.

    network                             names                           q, k, v
    segment-anything encoder, timm      qkv, proj                       fused, rows [q | k | v]
    TinyViT (MobileSAM, LiteMedSAM)     qkv, proj                       fused per head, rows [q0 k0 v0 q1 k1 v1 ...]
    transformers CLIP, SigLIP           q_proj k_proj v_proj out_proj   separate, one input
    SAM mask decoder                    q_proj k_proj v_proj out_proj   separate, three inputs: no reader
    MLPs                                lin1, lin2 or fc1, fc2

SigLIP's image tower ends in a head that pools by attention with one learnt query, its `probe`. It is no block.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TARGETS = ("q", "k", "v", "o", "fc1", "fc2")

SEPARATE = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}
MLPS = ({"fc1": "lin1", "fc2": "lin2"}, {"fc1": "fc1", "fc2": "fc2"})


@dataclass(frozen=True)
class Projection:
    """A linear layer of a block, or the rows of it that are this projection (None: all)."""

    child: str
    linear: nn.Linear
    rows: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        """(d_out, d_in): the projection's own part of the layer's weight."""
        return self.linear.weight if self.rows is None else self.linear.weight[self.rows]


@dataclass(frozen=True)
class Block:
    """An attention block or an MLP, by its dotted name in the model."""

    name: str
    module: nn.Module
    projections: dict[str, Projection]
    reader: nn.Module | None = None


def blocks(model: nn.Module, where: Sequence[str] | None = None) -> Iterator[Block]:
    """The blocks below the dotted-name prefixes `where` (None: everywhere), in the model's own order.

    Raises:
        TypeError: an attention module that no known anatomy describes, or a projection that is not an `nn.Linear`.
    """
    pooling = tuple(f"{name}." for name, module in model.named_modules() if "probe" in module._parameters)
    for name, module in model.named_modules():
        if f"{name}.".startswith(pooling):
            continue
        if where is None or any(f"{name}.".startswith(f"{prefix}.") for prefix in where):
            block = describe(name, module)
            if block is not None:
                yield block


def describe(name: str, module: nn.Module) -> Block | None:
    """The module as a block; None where it is neither attention nor an MLP."""
    children = {child for child, _ in module.named_children()}

    def projection(child: str, rows: Tensor | None = None) -> Projection:
        linear = module.get_submodule(child)
        if not isinstance(linear, nn.Linear):
            kind = type(linear).__name__
            raise TypeError(f"{name}.{child} is a {kind}; adapters live in nn.Linear layers: leave it out by `where`.")
        return Projection(child, linear, rows)

    if {"qkv", "proj"} <= children:
        fused = projection("qkv")
        rows = dict(zip("qkv", fused_rows(module, fused.linear), strict=True))
        projections = {target: projection("qkv", rows[target]) for target in rows} | {"o": projection("proj")}
        return Block(name, module, projections, reader=fused.linear)
    if set(SEPARATE.values()) <= children:
        projections = {target: projection(child) for target, child in SEPARATE.items()}
        return Block(name, module, projections, reader=None if reads_three_tensors(module) else module)
    for mlp in MLPS:
        if set(mlp.values()) <= children:
            return Block(name, module, {target: projection(child) for target, child in mlp.items()})
    if "attention" in type(module).__name__.lower() and owns_projections(module):
        known = "qkv and proj, or q_proj, k_proj, v_proj and out_proj"
        raise TypeError(
            f"{name} is a {type(module).__name__}, whose projections are unknown: looked for {known}. "
            "Leave it out by `where`, or describe it in graft/adapters/anatomy.py."
        )
    return None


def fused_rows(attention: nn.Module, qkv: nn.Linear) -> Sequence[Tensor]:
    """The rows of q, k and v in a fused layer, each of shape (d_projection,)."""
    rows = torch.arange(qkv.out_features, device=qkv.weight.device)
    if hasattr(attention, "attention_biases"):  # TinyViT; timm's attention has a `norm` child too, but not these
        heads, key_dim, value_dim = (int(getattr(attention, name)) for name in ("num_heads", "key_dim", "d"))
        return [part.flatten() for part in torch.split(rows.view(heads, -1), [key_dim, key_dim, value_dim], dim=1)]
    return rows.chunk(3)


def reads_three_tensors(attention: nn.Module) -> bool:
    """Whether q, k and v come in as tensors of their own, as in SAM's mask decoder."""
    return {"q", "k", "v"} <= inspect.signature(attention.forward).parameters.keys()


def owns_projections(attention: nn.Module) -> bool:
    """Whether the weights are the module's own, not those of attention modules inside it."""
    direct = [*attention.parameters(recurse=False)]
    return bool(direct) or any(isinstance(child, nn.Linear) for child in attention.children())
