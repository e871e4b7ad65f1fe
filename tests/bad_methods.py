"""Bad input of the family of methods, as data: more cases for `tests.bad_input`."""

from collections.abc import Callable
from pathlib import Path

import torch

from graft.adapters import LoRA, inject, save
from graft.backbones import build_sam
from tests.place import Case, Place, text, together, trained

RECIPES = Path(__file__).parents[1] / "configs" / "methods"

ONE_CYCLE = """\
model:
  init_args:
    lr_scheduler: {class_path: torch.optim.lr_scheduler.OneCycleLR, init_args: {max_lr: 0.1, total_steps: 9}}
"""


def recipe(name: str) -> Callable[[Place], None]:
    """A file of configs/methods."""
    return lambda at: at.write(name, (RECIPES / name).read_bytes())


def checkpoint(*typed: str) -> Callable[[Place], None]:
    """The checkpoint of a run of tiny.yaml with more typed after it."""
    return lambda at: at.write("last.ckpt", trained(*typed))


def damaged(at: Place) -> None:
    """Weights with a NaN in the layer that is q, k and v of the second block."""
    state = build_sam("tiny", checkpoint=None).state_dict()
    state["image_encoder.blocks.1.attn.qkv.weight"][3, 4] = float("nan")
    torch.save(state, at.folder / "sam.pth")


def adapter_file(at: Place) -> None:
    model = build_sam("tiny", checkpoint=None)
    inject(model, LoRA(rank=4))
    save(model, at.folder / "lora.safetensors")


LORA, GATED, ON_GATES = "--adapt.adapter=LoRA", "--adapt.adapter=GatedLoRA", "--adapt.rules=[BayesianGates]"
RESUME = "--ckpt_path=last.ckpt"
WEIGHTS = "--model.checkpoint=sam.pth"

METHODS: dict[str, list[Case]] = {
    "Methods": [
        Case("", "--adapt.adapter=SALT --adapt.adapter.rank=17", ("rank 17", "32 x 32", "at most 16")),
        Case("", "--adapt.adapter=Bone --adapt.adapter.rank=5", ("rank 5", "32 input", "choose a divisor of 32")),
        Case("", "--adapt.adapter=BlockLoRA --adapt.adapter.rank=5", ("rank 5", "blocks, which is 2", "change one")),
        Case("", "--adapt.adapter=MiSS --adapt.adapter.rank=5", handled="Trained; the last slice is shorter."),
        Case("", "--adapt.adapter.alpha=0", ("alpha is 0", "above 0")),
        Case("", "--adapt.adapter.dropout=1", ("dropout is 1", "less than 1")),
        Case("An adapter that is none", "--adapt.adapter=DLoRA", ("DLoRA", "did you mean LoRA or DoRA?")),
        Case("A rule that is none", "--adapt.rules=[PISA]", ("PISA", "did you mean PiSSA?")),
        Case(
            "A rule as adapter", "--adapt.adapter=PiSSA", ("adapt.adapter is PiSSA", "for --adapt.rules: give it there")
        ),
        Case(
            "An adapter as rule", "--adapt.rules=[DoRA]", ("adapt.rules is DoRA", "for --adapt.adapter: give it there")
        ),
        Case(
            "A weight that holds NaN, and singular values of it",
            f"--adapt.adapter=SALT {WEIGHTS}",
            ("image_encoder.blocks.1.attn.qkv.weight holds NaN", "give others"),
            damaged,
        ),
        Case(
            "A weight that holds NaN, and a start by its singular values",
            f"{LORA} --adapt.rules=[PiSSA] {WEIGHTS}",
            ("image_encoder.blocks.1.attn.qkv.weight holds NaN", "give others"),
            damaged,
        ),
        Case(
            "A checkpoint of a method whose factors are called alike",
            f"{GATED} {RESUME}",
            ("This checkpoint holds LoRA", "asks for GatedLoRA", "config.yaml"),
            checkpoint(LORA),
            command="test",
        ),
        Case(
            "An adapter file in the place of a checkpoint",
            f"{LORA} --ckpt_path=lora.safetensors",
            ("lora.safetensors", "no complete checkpoint", "Give another"),
            adapter_file,
        ),
    ],
    "Rules": [
        Case(
            "Two starts", f"{LORA} --adapt.rules=[PiSSA,LoRAGA]", ("PiSSA and LoRAGA both decide the start", "keep one")
        ),
        Case(
            "Two that change the gradients",
            f"{LORA} --adapt.rules=[ALLoRA,LoRAPro]",
            ("ALLoRA and LoRAPro both decide the gradients", "keep one"),
        ),
        Case("One twice", "--adapt.rules=[LoRAPlus,LoRAPlus]", ("LoRAPlus is given twice", "keep one")),
        Case(
            "A rule for gates where there are none",
            f"{LORA} --adapt.rules=[ProximalGate]",
            ("ProximalGate is for adapters such as GatedLoRA", "has LoRA", "drop the rule"),
        ),
        Case(
            "A penalty for groups where there is none",
            f"{LORA} --adapt.rules=[PEGOPenalty]",
            ("PEGOPenalty is for adapters such as LoRAGroup", "has LoRA", "drop the rule"),
        ),
        Case(
            "A start for a core where there is none",
            f"{LORA} --adapt.rules=[GradientSVD]",
            ("GradientSVD is for adapters such as LoRAXS", "has LoRA", "drop the rule"),
        ),
        Case(
            "A rate for `up` where there is none",
            "--adapt.adapter=Bone --adapt.rules=[LoRAPlus]",
            ("LoRAPlus speeds up the factor `up`", "such as LoRA", "drop the rule"),
        ),
        Case(
            "Twice as many singular vectors as there are",
            f"{LORA} --adapt.adapter.rank=17 --adapt.rules=[LoRAGA]",
            ("34 singular vectors for rank 17", "32 x 32 layer has 32", "at most 16"),
        ),
        Case(
            "A schedule that undoes the recipe of a method",
            "--config=cycle.yaml --config=lora_plus.yaml",
            ("OneCycleLR gives all parameters one learning rate", "(LoRAPlus)", "choose another scheduler, or drop"),
            together(text("cycle.yaml", ONE_CYCLE), recipe("lora_plus.yaml")),
        ),
        Case(
            "A run that goes on with a rule that it began without",
            f"{GATED} {ON_GATES} {RESUME}",
            ("trained with the rules none", "has BayesianGates", "go on with the same"),
            checkpoint(GATED),
        ),
        Case(
            "A run that goes on without its rule",
            f"{LORA} {RESUME}",
            ("trained with the rules PiSSA", "has none", "go on with the same"),
            checkpoint(LORA, "--adapt.rules=[PiSSA]"),
        ),
        Case(
            "A run that goes on with another rule",
            f"{GATED} --adapt.rules=[ProximalGate] {RESUME}",
            ("trained with the rules BayesianGates", "has ProximalGate", "go on with the same"),
            checkpoint(GATED, ON_GATES),
        ),
        Case(
            "A run that goes on without the groups of parameters that its rule made",
            RESUME,
            ("matrices_up", "go on with the same adapt.rules"),
            checkpoint("--adapt.rules=[LoRAPlus]"),
        ),
        Case(
            "A rule in a test, which it does not concern",
            f"{GATED} {ON_GATES} {RESUME}",
            (),
            checkpoint(GATED, ON_GATES),
            command="test",
            handled="Tested.",
        ),
    ],
}
