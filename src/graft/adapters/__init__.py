"""Low-rank methods under one law, and their life in a model. Needs torch alone."""

from graft.adapters.base import Adapter, InputAdapter
from graft.adapters.block_lora import BlockLoRA
from graft.adapters.bone import Bone
from graft.adapters.dora import DoRA
from graft.adapters.files import load, save
from graft.adapters.gated import Gated
from graft.adapters.gated_lora import GatedLoRA
from graft.adapters.gated_serial_lora import GatedSerialLoRA
from graft.adapters.hydra import Hydra
from graft.adapters.inject import Site, inject
from graft.adapters.loca import LoCA
from graft.adapters.loldu import LoLDU
from graft.adapters.lora import LoRA
from graft.adapters.lora_group import LoRAGroup
from graft.adapters.lora_xs import LoRAXS
from graft.adapters.low_rank import LowRankAdapter
from graft.adapters.many import use, using
from graft.adapters.merge import merge
from graft.adapters.miss import MiSS
from graft.adapters.nola import NOLA
from graft.adapters.orthogonal_lora import OrthogonalLoRA
from graft.adapters.randlora import RandLoRA
from graft.adapters.salt import SALT
from graft.adapters.serial_lora import SerialLoRA
from graft.adapters.serial_sb import SerialSB
from graft.adapters.serial_svd import SerialSVD
from graft.adapters.snell import SNELL
from graft.adapters.sorsa import SORSA
from graft.adapters.sparse_lora import SparseLoRA
from graft.adapters.svfit import SVFit
from graft.adapters.tera import TeRA
from graft.adapters.tlora import TLoRA
from graft.adapters.wara import WaRA

__all__ = [
    "NOLA",
    "SALT",
    "SNELL",
    "SORSA",
    "Adapter",
    "BlockLoRA",
    "Bone",
    "DoRA",
    "Gated",
    "GatedLoRA",
    "GatedSerialLoRA",
    "Hydra",
    "InputAdapter",
    "LoCA",
    "LoLDU",
    "LoRA",
    "LoRAGroup",
    "LoRAXS",
    "LowRankAdapter",
    "MiSS",
    "OrthogonalLoRA",
    "RandLoRA",
    "SVFit",
    "SerialLoRA",
    "SerialSB",
    "SerialSVD",
    "Site",
    "SparseLoRA",
    "TLoRA",
    "TeRA",
    "WaRA",
    "inject",
    "load",
    "merge",
    "save",
    "use",
    "using",
]
