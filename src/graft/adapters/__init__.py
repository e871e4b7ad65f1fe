"""Low-rank methods under one law, and their life in a model. Needs torch alone."""

from graft.adapters.base import Adapter, InputAdapter
from graft.adapters.files import load, save
from graft.adapters.inject import Site, inject
from graft.adapters.lora import LoRA
from graft.adapters.low_rank import LowRankAdapter
from graft.adapters.merge import merge
from graft.adapters.serial_lora import SerialLoRA

__all__ = ["Adapter", "InputAdapter", "LoRA", "LowRankAdapter", "SerialLoRA", "Site", "inject", "load", "merge", "save"]
