"""How adapters are trained, where that is a paper's idea."""

from graft.rules.allora import ALLoRA
from graft.rules.base import Rule
from graft.rules.bayesian_gates import BayesianGates
from graft.rules.dct_adamw import DCTAdamW
from graft.rules.diffora import DiffoRA
from graft.rules.dylora import DyLoRA
from graft.rules.fisher_svd import FisherSVD
from graft.rules.gradient_svd import GradientSVD
from graft.rules.increlora import IncreLoRA
from graft.rules.lambda_orthogonality import LambdaOrthogonality
from graft.rules.loca_alternation import LoCAAlternation
from graft.rules.lora_ga import LoRAGA
from graft.rules.lora_plus import LoRAPlus
from graft.rules.lora_pro import LoRAPro
from graft.rules.pego_penalty import PEGOPenalty
from graft.rules.pissa import PiSSA
from graft.rules.proximal_gate import ProximalGate
from graft.rules.re_svd import ReSVD
from graft.rules.sorsa_penalty import SORSAPenalty

__all__ = [
    "ALLoRA",
    "BayesianGates",
    "DCTAdamW",
    "DiffoRA",
    "DyLoRA",
    "FisherSVD",
    "GradientSVD",
    "IncreLoRA",
    "LambdaOrthogonality",
    "LoCAAlternation",
    "LoRAGA",
    "LoRAPlus",
    "LoRAPro",
    "PEGOPenalty",
    "PiSSA",
    "ProximalGate",
    "ReSVD",
    "Rule",
    "SORSAPenalty",
]
