"""SAM's image encoder at any size.

The encoder was trained on squares of 1024 pixels. Its absolute positions are a table of 64 x 64; for another size that
table is resized on the way and stays as it was, so weights and exports keep the published shapes. The relative
positions need nothing: segment-anything resizes them by itself.
"""

from functools import partial

import torch.nn.functional as F
from segment_anything.modeling import image_encoder as stock
from torch import Tensor, nn

from graft.backbones.recompute import Recomputed
from graft.backbones.vit_attention import Attention

PATCH = 16  # pixels
TRAINED_AT = 1024  # pixels


class Windowed(stock.Block):
    """segment-anything's transformer block, which leaves the windows to its attention."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, width) to the same shape."""
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class Block(Recomputed, Windowed):
    """The same, that can compute twice."""


class ImageEncoder(stock.ImageEncoderViT):
    """SAM's vision transformer (https://arxiv.org/abs/2304.02643) for square images of `image_size` pixels.

    Args:
        image_size: Height and width in pixels, a multiple of 16.
        width: Features of a token.
        depth: Number of blocks.
        heads: Attention heads of a block.
        global_blocks: Blocks that attend to the whole image; the others attend in windows of 14 x 14 tokens.
        channels: Features of the embedding that comes out.
    """

    def __init__(
        self, image_size: int, width: int, depth: int, heads: int, global_blocks: tuple[int, ...], channels: int = 256
    ) -> None:
        super().__init__(
            img_size=TRAINED_AT,
            patch_size=PATCH,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            out_chans=channels,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=global_blocks,
        )
        self.img_size = image_size  # what segment-anything's predictor resizes to
        for block in self.blocks:
            block.__class__, block.attn.__class__ = Block, Attention
            block.attn.window_size = block.window_size

    def positions(self) -> Tensor:
        """The absolute positions at this size, (1, S / 16, S / 16, width); at 1024 the table itself.

        Resized linearly, which is how segment-anything resizes the relative ones. Not kept: that costs a thousandth of
        a forward pass, and so a table that is trained, loaded or moved is never out of date.
        """
        table: Tensor = self.pos_embed
        side = self.img_size // PATCH
        if side == table.shape[1]:
            return table
        return F.interpolate(table.permute(0, 3, 1, 2), (side, side), mode="bilinear").permute(0, 2, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Embed normalised images, (B, 3, S, S), as (B, channels, S / 16, S / 16)."""
        x = self.patch_embed(image) + self.positions()  # (B, S / 16, S / 16, width)
        for block in self.blocks:
            x = block(x)
        embedding: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return embedding
