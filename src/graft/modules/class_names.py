"""Classes by their names: what CLIP's text tower makes of them."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn


class ClassNames:
    """Turns names of classes into unit vectors; computed once for as long as the text tower does not change.

    Args:
        clip: The transformers model whose text tower is asked.
        tokenizer: Its tokenizer.
    """

    def __init__(self, clip: Any, tokenizer: Any) -> None:
        self.clip = clip
        self.tokenizer = tokenizer
        self.template = "{}"
        self.known: dict[tuple[str, ...], Tensor] = {}

    def forget(self) -> None:
        """The text tower has changed."""
        self.known.clear()

    @property
    def learns(self) -> bool:
        """Whether the text tower is trained."""
        return any(p.requires_grad for name, p in self.clip.named_parameters() if name.startswith("text_"))

    def tokens(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Token ids (and CLIP's attention mask) of the names in the template, each (classes, tokens)."""
        texts = [self.template.format(name) for name in names]
        most = int(self.clip.config.text_config.max_position_embeddings)
        for name, ids in zip(names, self.tokenizer(texts)["input_ids"], strict=True):
            if len(ids) > most:
                rank_zero_warn(f"The class {name!r} takes {len(ids)} tokens, of which {most} are read: shorten it.")
        siglip = self.clip.config.model_type == "siglip"  # which was trained on padded texts, and to read the padding
        padding, kept = ("max_length", ["input_ids"]) if siglip else (True, ["input_ids", "attention_mask"])
        tokens = self.tokenizer(texts, padding=padding, truncation=True, max_length=most, return_tensors="pt")
        return {name: tokens[name].to(self.clip.device) for name in kept}

    def layer(self, names: Sequence[str]) -> nn.Linear:
        """A linear layer, from an image's unit vector to logits, that starts as the names say."""
        with torch.no_grad():
            weight = self.clip.logit_scale.exp() * self(names)
        layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
        layer.load_state_dict({"weight": weight, "bias": weight.new_zeros(len(weight))})
        return layer

    def __call__(self, names: Sequence[str]) -> Tensor:
        """(classes, d), with a gradient where the text tower is trained and gradients are computed."""
        key, fresh = tuple(names), self.learns and torch.is_grad_enabled()
        if key in self.known and not fresh:
            return self.known[key].to(self.clip.device)
        with torch.set_grad_enabled(fresh):
            features = F.normalize(self.clip.get_text_features(**self.tokens(names)).pooler_output, dim=-1)
        if not fresh:
            self.known[key] = features
        return features
