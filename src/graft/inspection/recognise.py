"""What a file of weights is that Graft has not made: told by the names in it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

NAMES = {
    ".lora_A": "an adapter of PEFT's, which peft.PeftModel loads",
    ".lora_embedding_A": "an adapter of PEFT's, which peft.PeftModel loads",
    "lora_down.weight": "a LoRA for Stable Diffusion in kohya's names",
    "image_encoder.": "weights of Segment Anything or of a relative: give them to --model.checkpoint",
    "vision_encoder.": "weights of a SAM of transformers, whose names are not those of segment-anything",
    "vision_model.encoder": "weights of a CLIP or SigLIP of transformers: give its folder to --model.backbone",
    "visual.": "weights of a CLIP in OpenAI's names: take the same model from the hub, by --model.backbone",
    "transformer_blocks.": "weights of a diffusion model of diffusers",
    "blocks.0.attn.qkv": "weights of a vision transformer in timm's names",
}
"""What a part of a name gives away; the first that is found."""

FOLDERS = {
    "adapter_config.json": "an adapter of PEFT's, which peft.PeftModel loads",
    "model_index.json": "a pipeline of diffusers",
    "config.json": "a model of transformers: give the folder to --model.backbone",
}
"""What a file in it gives away of a folder."""


def of_names(names: Iterable[str]) -> str:
    """What the tensors of these names are."""
    names = list(names)
    for part, what in NAMES.items():
        if any(part in f".{name}" for name in names):
            return what
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    many = f"{len(names)} tensor{'s' if len(names) > 1 else ''}"
    return f"{many} of an unknown network ({some})" if names else "no tensors"


def of_content(content: Any) -> str:
    """What the content of a torch file is that has no mark of Graft's."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if "pytorch-lightning_version" in content:
        at = f"step {content.get('global_step', '?')}"
        return f"a Lightning checkpoint of another project ({at}), with {of_names(content.get('state_dict', {}))}"
    for key in ("state_dict", "model_state_dict", "model", "net"):  # as others wrap their weights
        if isinstance(content.get(key), Mapping):
            return of_names(content[key])
    return of_names(map(str, content))


def of_folder(folder: Path) -> str | None:
    """What a folder is, if a file in it gives it away."""
    return next((what for name, what in FOLDERS.items() if (folder / name).is_file()), None)
