"""Bad input of the commands around a run, as data: more cases for `tests.bad_input`."""

import torch

from graft.backbones import build_sam
from tests.bad_methods import adapter_file
from tests.place import Case, Place, text, together

EXPORT = "export --ckpt_path last.ckpt --output out.pth"


def weights(at: Place) -> None:
    """SAM's weights, which are no adapter."""
    torch.save(build_sam("tiny", checkpoint=None).state_dict(), at.folder / "sam.pth")


def case(given: str, command: str, says: tuple[str, ...], *prepare: object) -> Case:
    return Case(given, command=command, config="", says=says, prepare=together(*prepare))


COMMANDS: dict[str, list[Case]] = {
    "Commands around a run": [
        case("Nothing to look at", "inspect", ("No path is given", "--help")),
        case("No checkpoint there", "inspect none.ckpt", ("none.ckpt",)),
        case("Weights, not a checkpoint", "inspect sam.pth", ("sam.pth", "Segment Anything"), weights),
        case("Something else", "report notes.txt", ("notes.txt", "no complete checkpoint"), text("notes.txt", "no")),
        case("A folder that is no run's", "report DATA", ("DATA", "no run's log folder")),
        case("A picture of another kind", "spectra last.ckpt --output x.pdf", (".png or .svg",), Place.checkpoint),
        case("A format that is none", f"{EXPORT} --to onx", ("onx", "onnx"), Place.checkpoint),
        case(
            "A name that is taken", f"{EXPORT} --to native", ("out.pth",), Place.checkpoint, text("out.pth", "precious")
        ),
        case("One file's index", "combine a.safetensors --extract 3 --output b.safetensors", ("a.safetensors",)),
        case(
            "A rank of 0",
            "combine lora.safetensors lora.safetensors --method svd --rank 0 --output b.safetensors",
            ("rank", "0"),
            adapter_file,
        ),
        case(
            "An output that is an input",
            "combine lora.safetensors --output lora.safetensors",
            ("lora.safetensors",),
            adapter_file,
        ),
        Case("A check of one step", "--steps 1", ("steps is 1", "at least 2"), command="check"),
    ],
}
