"""Attention with decomposed relative positions on a CPU: some rows of logits at a time, which stay in its cache.

    P = softmax(onto(to_row) + onto(to_column) + scale q k'),   y = P v

The backward pass makes the same parts of P again, so that nothing of N x N is kept:

    dv = P' dy,   dS = P * (dy v' - sum(dy v' * P)),   dq = scale dS k,   dk = scale dS' q

and of to_row and to_column the sums of dS over columns and rows.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PART = 2**20  # logits at a time: four megabytes in float32, a cache's share of which products are still fast


class AttentionInParts(torch.autograd.Function):
    """FlashAttention's second pass (https://arxiv.org/abs/2205.14135), in matrix products that a CPU is fast at.

    q, k, v: (n, N, features) of n heads and windows, and of the N = H * W tokens of each.
    to_row, to_column: (n, N, H) and (n, N, W), what a query adds to the logits of a row's and a column's keys.
    Gives (n, N, features).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, to_row: Tensor, to_column: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v, to_row, to_column)
        ctx.scale = scale
        y = torch.empty_like(v)
        for heads, rows in parts(q):
            part = heads, rows
            y[part] = torch.bmm(softmax(q[part], k[heads], to_row[part], to_column[part], scale), v[heads])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, to_row, to_column = ctx.saved_tensors
        dq, d_row, d_column = (torch.empty_like(tensor) for tensor in (q, to_row, to_column))
        dk, dv = (torch.zeros_like(tensor, dtype=torch.promote_types(q.dtype, torch.float32)) for tensor in (k, v))
        for heads, rows in parts(q):
            part = heads, rows
            p = softmax(q[part], k[heads], to_row[part], to_column[part], ctx.scale)
            dv[heads] += torch.bmm(p.mT, dy[part])
            ds = torch.ops.aten._softmax_backward_data(torch.bmm(dy[part], v[heads].mT), p, -1, p.dtype)
            dq[part] = torch.bmm(ds, k[heads])
            dk[heads] += torch.bmm(ds.mT, q[part])
            grid = ds.view(*ds.shape[:2], to_row.shape[-1], to_column.shape[-1])
            d_row[part], d_column[part] = grid.sum(-1), grid.sum(-2)
        return dq.mul_(ctx.scale), dk.mul_(ctx.scale).to(q.dtype), dv.to(q.dtype), d_row, d_column, None


def softmax(q: Tensor, k: Tensor, to_row: Tensor, to_column: Tensor, scale: float) -> Tensor:
    """(n, some rows, N)."""
    s = (to_row[..., None] + to_column[..., None, :]).flatten(2)
    return s.baddbmm_(q, k.mT, alpha=scale).softmax(-1)


def parts(q: Tensor) -> Iterator[tuple[slice, slice]]:
    """Heads and rows that are computed together: whole heads where they are small, else rows of one."""
    n, tokens, _ = q.shape
    heads = max(1, PART // tokens**2)
    rows = min(tokens, max(1, PART // tokens))
    return ((slice(h, h + heads), slice(r, r + rows)) for h in range(0, n, heads) for r in range(0, tokens, rows))
