"""From a name or a folder to a CLIP or a SigLIP, and its tokenizer."""

from pathlib import Path
from typing import Any

import torch

from graft.backbones.quick_gelu import lighten
from graft.download import DownloadError

SEED = 0  # random weights are a function of the name, so that what is frozen needs no saving
KINDS = ("clip", "siglip")
WHOLE = "a folder into which `save_pretrained` has written both model and tokenizer"


def build_clip(name: str) -> tuple[Any, Any]:
    """Build a transformers `CLIPModel` or `SiglipModel`, in float32 and eval mode, and its tokenizer.

    The caller's random state stays as it is.

    Args:
        name: A model of the hub, such as openai/clip-vit-base-patch16 or google/siglip-base-patch16-224; a folder that
            `save_pretrained` has written, of model and tokenizer; or tiny (random, for tests and demos).

    Raises:
        ValueError: The folder or the hub's model is no CLIP and no SigLIP, or not all of one.
        DownloadError: There is no such folder, it cannot be read, or the hub has no such model or cannot be reached.
    """
    if name == "tiny":
        return tiny()
    from transformers import AutoConfig, AutoModel, AutoTokenizer  # here: whoever builds a SAM need not wait for it

    kind = read(AutoConfig, name).model_type
    if kind not in KINDS:
        raise ValueError(f"{name} is a {kind}, but CLIP classification takes one of {', '.join(KINDS)}; give another.")
    # weights in half precision would give NaN after a step: autocast halves what may be halved
    told = {"dtype": torch.float32, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, report = read(AutoModel, name, **told)
    if missing := sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}):
        raise ValueError(
            f"The weights in {name} lack {len(missing)} tensors of its {kind}, such as {missing[0]}, which would be "
            f"random; give {WHOLE}."
        )
    tokenizer = read(AutoTokenizer, name)
    if tokenizer("a")["input_ids"] == tokenizer("b")["input_ids"]:  # what is made where its files are missing
        raise ValueError(f"{name} holds no tokenizer; give {WHOLE}.")
    model.name = name
    model.eval()
    lighten(model)
    return model, tokenizer


def read(kind: Any, name: str, **options: Any) -> Any:
    """What a class of transformers reads from a folder, or fetches from the hub.

    Raises:
        DownloadError: It cannot.
    """
    try:
        return kind.from_pretrained(name, **options)
    except Exception as error:  # the network, the disk; a damaged file can raise anything
        where = "is a folder without model or tokenizer, or with damaged files"
        if not Path(name).is_dir():
            where = "is no folder here, nor on the hub, or the hub cannot be reached"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
        raise DownloadError(
            f"{name} {where} ({reason}): give model.backbone the name of a CLIP or SigLIP on the hub, or {WHOLE}."
        ) from error


def tiny() -> tuple[Any, Any]:
    """A random CLIP for images of 32 x 32 pixels, and a tokenizer that spells."""
    from transformers import CLIPConfig, CLIPModel

    towers: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
    config = CLIPConfig(
        initializer_factor=2.0,
        text_config=towers
        | {
            "num_hidden_layers": 2,
            "vocab_size": 514,
            "bos_token_id": 512,
            "eos_token_id": 513,
            "initializer_factor": 2.0,
        },
        vision_config=towers | {"num_hidden_layers": 4, "image_size": 32, "patch_size": 8, "initializer_factor": 2.0},
        projection_dim=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        model: Any = CLIPModel(config)
    with torch.no_grad():  # random places are as small as noise, and nothing that is frozen could tell where a line is
        model.vision_model.embeddings.position_embedding.weight.mul_(15)
    model.name = "tiny"
    model.eval()
    lighten(model)
    return model, spelling()


def spelling() -> Any:
    """CLIP's tokenizer with a vocabulary of single bytes: it knows every word, letter by letter."""
    from transformers import CLIPTokenizer

    # byte-level tokenizers write the bytes that are no printable character as the characters from 256 on
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    letters = [chr(byte) for byte in sorted(printable)] + [chr(256 + k) for k in range(256 - len(printable))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({word: k for k, word in enumerate(words)}, [], model_max_length=77)
