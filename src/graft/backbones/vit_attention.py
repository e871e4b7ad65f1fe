"""SAM's attention without its matrix of all tokens by all tokens, exactly.

The published way adds two learnt terms to the logits s q k', one of the key's row and one of its column, and so has to
hold all N x N of them. But with the relative positions R_h and R_w the same logits are one inner product,

    s q k' + q R_h[row] + q R_w[column] = [s q, q R_h, q R_w] [k, onehot(row), onehot(column)]'

of length d + H + W, which is what fused kernels take. Values are padded to that length, without which CUDA's flash
attention (up to 256: 1536 pixels) does not take it, and where no kernel does the N x N matrix is back. The CPU's kernel
takes it, too, but three times the products of length d at 1024 pixels are slower than `AttentionInParts`.
"""

import torch
import torch.nn.functional as F
from segment_anything.modeling import image_encoder as stock
from torch import Tensor

from graft.backbones.attention_in_parts import AttentionInParts

MULTIPLE = 8  # of a head's features: all that CUDA's memory-efficient kernel takes in half precision


class Attention(stock.Attention):
    """segment-anything's attention with decomposed relative positions (https://arxiv.org/abs/2112.01526).

    Where windows reach beyond the image, tokens of zeros fill them, to which the image's tokens attend. These are all
    alike: they are projected once, and as nobody asks what they see, what comes out of them is not projected at all.
    """

    window_size: int
    """Height and width of a window in tokens; 0: the whole image is one."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, width) to the same shape."""
        if self.window_size:
            windows, filled = stock.window_partition(self.fill(x), self.window_size)
            y = stock.window_unpartition(self.attend(windows), self.window_size, filled, x.shape[1:3])
        else:
            y = self.attend(self.qkv(x))
        projected: Tensor = self.proj(y)
        return projected

    def fill(self, x: Tensor) -> Tensor:
        """Queries, keys and values, (B, H, W, 3 width), with those of zeros below and to the right."""
        batch, height, width, _ = x.shape
        below, right = -height % self.window_size, -width % self.window_size
        rows = torch.cat([x.flatten(0, 2), x.new_zeros(1, x.shape[3])])  # the last is what lies beyond the image
        qkv = self.qkv(rows)
        inside, beyond = qkv[:-1].view(batch, height, width, -1), qkv[-1]
        wide = torch.cat([inside, beyond.expand(batch, height, right, -1)], 2)
        return torch.cat([wide, beyond.expand(batch, below, width + right, -1)], 1)

    def attend(self, qkv: Tensor) -> Tensor:
        """All tokens of a grid to each other: (B, H, W, 3 width) to (B, H, W, width)."""
        batch, height, width, _ = qkv.shape
        q, k, v = qkv.view(batch, height, width, 3, self.num_heads, -1).permute(3, 0, 4, 1, 2, 5).contiguous()
        rows = stock.get_rel_pos(height, height, self.rel_pos_h)  # (H, H, d): of a query's row, a key's, features
        columns = stock.get_rel_pos(width, width, self.rel_pos_w)
        to_row = torch.einsum("bnhwd,hkd->bnhwk", q, rows)
        to_column = torch.einsum("bnhwd,wkd->bnhwk", q, columns)
        in_parts = q.device.type == "cpu" and not torch.compiler.is_compiling()
        y = (attention_in_parts if in_parts else fused_attention)(q, k, v, to_row, to_column, self.scale)
        return y.permute(0, 2, 3, 1, 4).flatten(3)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, to_row: Tensor, to_column: Tensor, scale: float) -> Tensor:
    """A device's kernels, by the longer queries and keys; shapes (B, heads, H, W, ...)."""
    batch, heads, height, width, features = q.shape
    rest = -(features + height + width) % MULTIPLE
    row = torch.eye(height, dtype=k.dtype, device=k.device)[:, None].expand(-1, width, -1)
    column = torch.eye(width, width + rest, dtype=k.dtype, device=k.device).expand(height, -1, -1)
    place = torch.cat([row, column], -1)  # (H, W, H + W + rest); kept nowhere: one head's share of a copy
    q = torch.cat([scale * q, to_row, F.pad(to_column, (0, rest))], -1)
    k = torch.cat([k, place.expand(batch, heads, -1, -1, -1)], -1)
    v = F.pad(v, (0, q.shape[-1] - features))
    y = F.scaled_dot_product_attention(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), scale=1.0)
    return y[..., :features].view(batch, heads, height, width, features)


def attention_in_parts(q: Tensor, k: Tensor, v: Tensor, to_row: Tensor, to_column: Tensor, scale: float) -> Tensor:
    """The CPU's way, of the same shapes."""
    flat = (tensor.flatten(2, 3).flatten(0, 1) for tensor in (q, k, v, to_row, to_column))
    y: Tensor = AttentionInParts.apply(*flat, scale)
    return y.view_as(q)
