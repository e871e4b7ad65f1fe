"""How adapters are trained, where that is a paper's idea."""

from graft.rules.base import Rule
from graft.rules.lora_plus import LoRAPlus

__all__ = ["LoRAPlus", "Rule"]
