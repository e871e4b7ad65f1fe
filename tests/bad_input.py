"""Bad input, as data: what is given, and what Graft says of it. To add a case, add one entry to `CASES`.

Those of classification are in `bad_classes.py`, of the family of methods in `bad_methods.py`, of commands in
`bad_commands.py`, of what is kept on disk in `bad_kept.py`.

Each case starts from a working folder with a tiny experiment (`tests.place`), changes it, and runs a command there.
`python -m tests.bad_input` writes docs/errors.md from all of them; `test_bad_input.py` holds each against its row.
"""

import errno
import os
import pickle
import socket
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import torch
from PIL import Image

from graft.data.images import read_mask
from graft.modules import SamSegmentation
from tests.bad_classes import CLASSES
from tests.bad_commands import COMMANDS
from tests.bad_kept import KEPT
from tests.bad_methods import METHODS
from tests.place import Case, Place, noise, place, square, text, together, trained

ERRORS = Path(__file__).parents[1] / "docs" / "errors.md"


# files


def png(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    return exif


KINDS: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
    "grey": (noise("grey").convert("L"), ".png", {}),
    "RGBA": (noise("RGBA").convert("RGBA"), ".png", {}),
    "16-bit": (Image.fromarray((np.arange(40 * 56) * 29).astype(np.uint16).reshape(40, 56)), ".png", {}),
    "CMYK": (noise("CMYK").convert("CMYK"), ".jpg", {}),
    "palette": (noise("palette").convert("P"), ".png", {}),
    "EXIF-rotated": (noise("turned", 40, 56), ".jpg", {"exif": turned()}),
}
"""Images of other kinds, 56 pixels wide and 40 high once they are read: the image, its suffix, how to save it."""


def of_kind(kind: str) -> Callable[[Place], None]:
    image, suffix, options = KINDS[kind]
    return lambda at: at.pair("train0", image, square(), suffix, **options)


def new(at: Place, **images: Image.Image) -> None:
    """A checkpoint, and images to predict."""
    at.checkpoint()
    (at.folder / "NEW").mkdir()
    for name, image in images.items():
        at.save(f"NEW/{name}.png", image)


def all_kinds(at: Place) -> None:
    at.checkpoint()
    for kind, (image, suffix, options) in KINDS.items():
        at.save(f"NEW/{kind}{suffix}", image, **options)
    at.save("NEW/Ünï cödé 图.png", noise("unicode", 30, 20))


def sized(*sizes: tuple[int, int]) -> Callable[[Place], None]:
    """Whether masks and overlays of these widths and heights were written, and no others."""

    def look(at: Place) -> None:
        for what in ("mask", "overlay"):
            found = []
            for path in (at.folder / "OUT").glob(f"*_{what}.png"):
                with Image.open(path) as image:
                    found.append(image.size)
            assert sorted(found) == sorted(sizes)

    return look


def noisy_masks(at: Place) -> None:
    for name in ("train0", "train1", "val0"):
        at.remove(f"DATA/masks/{name}.png")
        at.save(f"DATA/masks/{name}.jpg", square(), quality=50)
    with Image.open(at.folder / "DATA/masks/val0.jpg") as mask:
        assert len(np.unique(np.asarray(mask))) > 2


def clean(at: Place) -> None:
    assert (read_mask(at.folder / "DATA/masks/val0.jpg", 1) * 255 == np.asarray(square())).mean() > 0.95


def names(at: Place) -> None:
    at.write("DATA/train.txt", "a b\nÜnïcödé 图")
    for old, name in (("train0", "a b"), ("train1", "Ünïcödé 图")):
        for kind in ("images", "masks"):
            (at.folder / f"DATA/{kind}/{old}.png").rename(at.folder / f"DATA/{kind}/{name}.png")


def late(at: Place) -> None:
    """An image that is truncated and not among those looked at before the first step."""
    at.truncate("DATA/images/train0.png")
    at.patch.setattr("graft.data.segmentation.base.check_pairs", lambda *_: None)


LIST = "image,mask,split\nimages/train0.png,masks/train0.png,{}\nimages/val0.png,masks/val0.png,val\n"
CSV = "--data.csv=DATA/list.csv"
TWO = "--data.classes=[liver,spleen]"


def overlay(content: str | bytes) -> Callable[[Place], None]:
    return text("over.yaml", content)


# checkpoints and disks


class Bomb:
    """What makes a folder where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("BOMB",)


def bomb(path: str) -> Callable[[Place], None]:
    return lambda at: torch.save({"state_dict": Bomb()}, at.folder / path)


def no_bomb(at: Place) -> None:
    assert not (at.folder / "BOMB").exists()


def damaged(at: Place) -> None:
    at.checkpoint()
    at.truncate("last.ckpt")


def other_backbone(at: Place) -> None:
    at.checkpoint()
    checkpoint = torch.load(at.folder / "last.ckpt", weights_only=True)
    checkpoint["graft"]["backbone"] = "vit_b"
    torch.save(checkpoint, at.folder / "last.ckpt")


def going_on(at: Place) -> None:
    """A run that has saved once."""
    at.checkpoint("RUN/last.ckpt")


def full(at: Place) -> None:
    """No room for the next checkpoint: /dev/full is full for everyone."""
    going_on(at)
    (at.folder / "RUN" / "best-2.ckpt.part").symlink_to("/dev/full")


def forbidden(at: Place) -> None:
    going_on(at)
    simulate(at, "pathlib.Path.open", errno.EACCES, ".ckpt.part")


def kept(at: Place) -> None:
    assert (at.folder / "RUN" / "last.ckpt").read_bytes() == trained()
    SamSegmentation.load_from_checkpoint(at.folder / "RUN" / "last.ckpt")


def simulate(at: Place, function: str, number: int, ending: str) -> None:
    """Let a function of the system fail for paths that end so: root, who may run the tests, can write anywhere."""
    real = resolve_name(function)

    def fail(path: object, *args: object, **kwargs: object) -> object:
        if str(path).endswith(ending):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *args, **kwargs)

    at.patch.setattr(function, fail)


def full_predictions(at: Place) -> None:
    new(at, a=noise("a"))
    (at.folder / "OUT").mkdir()
    (at.folder / "OUT" / "a_mask.png.part").symlink_to("/dev/full")


# machines


def gpus(at: Place, count: int) -> None:
    at.patch.setattr("torch.cuda.device_count", lambda: count)
    at.patch.setattr("torch.cuda.is_available", lambda: count > 0)
    at.patch.setattr("torch.cuda.is_bf16_supported", lambda **_: False)


def busy_port(at: Place) -> None:
    taken = at.until.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = str(taken.getsockname()[1])
    at.patch.setenv("MASTER_ADDR", "127.0.0.1")
    at.patch.setenv("MASTER_PORT", port)
    at.words[port] = "29500"


RESUME = "--ckpt_path=last.ckpt"
PREDICT = f"{RESUME} --data.predict_root=NEW"
SAVE = "--ckpt_path=RUN/last.ckpt --checkpoint.dirpath=RUN --trainer.max_steps=2"
BOARD = "--trainer.logger=TensorBoardLogger --trainer.logger.save_dir=LOGS"

CASES: dict[str, list[Case]] = {
    "Images and masks": [
        Case("A mask is missing", "", ("val0.png", "add"), lambda at: at.remove("DATA/masks/val0.png")),
        Case(
            "An image that has a mask is missing", "", ("val0.png", "add"), lambda at: at.remove("DATA/images/val0.png")
        ),
        Case(
            "A mask of another size than its image",
            "",
            ("train0.png is 56 pixels wide and 40 high", "12 wide and 10 high", "make them of one size"),
            lambda at: at.save("DATA/masks/train0.png", square(12, 10)),
        ),
        Case(
            "An image that is none", "", ("train0.png", "replace or remove"), text("DATA/images/train0.png", "no image")
        ),
        Case(
            "A truncated image",
            "",
            ("train0.png", "truncated", "replace or remove"),
            lambda at: at.truncate("DATA/images/train0.png"),
        ),
        Case("An image of zero bytes", "", ("train0.png", "replace or remove"), text("DATA/images/train0.png", "")),
        Case("A mask of zero bytes", "", ("train0.png", "replace or remove"), text("DATA/masks/train0.png", "")),
        Case(
            "A truncated image that a worker process meets",
            "--data.num_workers=1",
            ("DATA/images/train0.png", "truncated", "replace or remove"),
            late,
        ),
        Case(
            "A class index beyond `num_classes`",
            f"{TWO} --model.num_classes=2",
            ("train0.png holds the class index 3", "2 classes", "correct the mask"),
            lambda at: at.save("DATA/masks/train0.png", square(value=3)),
        ),
        Case(
            "Two classes of data and one of the model",
            TWO,
            ("2 classes (liver, spleen)", "num_classes 1", "make them equal"),
        ),
        Case("JPEG noise in masks", "", (), noisy_masks, clean, "Cut at half of the range."),
        *(Case(f"An unusual image: {kind}", "", (), of_kind(kind), handled="Trained on, as RGB.") for kind in KINDS),
        Case("Names with spaces and Unicode", "", (), names, handled="Trained on."),
        Case(
            "An image of 1 x 5000 pixels",
            "",
            (),
            lambda at: at.pair("train0", noise("thin", 1, 5000), square(1, 5000)),
            handled="Trained on; at least one pixel wide.",
        ),
        Case(
            "An image of 20,000 x 20,000 pixels",
            "",
            ("train0.png", "pixels", "scale it down or tile it"),
            text("DATA/images/train0.png", png(20_000, 20_000)),
        ),
    ],
    "Folders and lists": [
        Case("A folder that is not there", "--data.root=NONE", ("NONE/images does not exist", "create it")),
        Case(
            "An empty folder",
            "",
            ("DATA/images holds no images", "put some into it"),
            lambda at: at.remove(*(f"DATA/images/{name}.png" for name in ("train0", "train1", "val0", "test0"))),
        ),
        Case(
            "An empty train split",
            "",
            ("train split", "empty", "train.txt"),
            together(text("DATA/train.txt", ""), text("DATA/test.txt", "train0\ntrain1\ntest0")),
        ),
        Case(
            "An empty val split",
            "",
            ("val split", "empty", "val.txt"),
            together(text("DATA/val.txt", ""), text("DATA/test.txt", "val0\ntest0")),
        ),
        Case(
            "An empty test split",
            RESUME,
            ("test split", "empty", "test.txt"),
            together(Place.checkpoint, text("DATA/test.txt", ""), text("DATA/val.txt", "val0\ntest0")),
            command="test",
        ),
        Case("A list that names an image that is not there", "", ("lists gone", "add"), text("DATA/val.txt", "gone")),
        Case("A list that is no text", "", ("DATA/val.txt", "save it as UTF-8"), text("DATA/val.txt", b"\xff\xfe")),
        Case("A CSV that is not there", CSV, ("DATA/list.csv does not exist", "give a CSV")),
        Case(
            "A CSV without a column",
            CSV,
            ("no column split", "needs image, mask, split"),
            text("DATA/list.csv", "image,mask\na,b"),
        ),
        Case(
            "A CSV with an unknown split",
            CSV,
            ("'dev'", "train, val or test"),
            text("DATA/list.csv", LIST.format("dev")),
        ),
        Case(
            "A CSV with a path outside the root",
            CSV,
            ("../images/train0.png lies outside of DATA", "move it there"),
            text("DATA/list.csv", LIST.format("train").replace("images/train0", "../images/train0")),
        ),
        Case(
            "A CSV that names an image that is not there",
            CSV,
            ("DATA/images/gone.png", "take it out"),
            text("DATA/list.csv", LIST.format("train").replace("images/train0", "images/gone")),
        ),
        Case(
            "A CSV in another encoding",
            CSV,
            ("DATA/list.csv", "save it as UTF-8"),
            text("DATA/list.csv", "ü".encode("latin-1")),
        ),
    ],
    "Adapters": [
        Case("", "--adapt.adapter.rank=0", ("rank is 0", "at least 1")),
        Case("", "--adapt.adapter.rank=-1", ("rank is -1", "at least 1")),
        Case("", "--adapt.adapter.rank=33", ("rank 33", "96 x 32", "at most 32")),
        Case("", "--adapt.adapter=LoRA --adapt.adapter.rank=33", ("rank 33", "32 x 32", "at most 32")),
        Case("", "--adapt.adapter.rank=1.5", ("rank is 1.5", "a whole number")),
        Case("", "--adapt.adapter.alpha=-1", ("alpha is -1", "above 0")),
        Case("", "--adapt.adapter.dropout=2", ("dropout is 2", "less than 1")),
        Case("", "--adapt.where=[image_encodr]", ("'image_encodr'", "image_encoder")),
        Case("", "--adapt.where=image_encoder", ("adapt.where is image_encoder", "--adapt.where '[image_encoder]'")),
        Case("", "--adapt.where=[prompt_encoder]", ("prompt_encoder", "nothing to adapt")),
        Case("", "--adapt.where=[]", ("`where` is an empty list", "null")),
        Case("", "--adapt.train=[mask_decodr]", ("'mask_decodr'", "mask_decoder")),
        Case("", "--adapt.targets=[z]", ("'z'", "q, k, v, o, fc1, fc2")),
        Case("q and v for a shared input", "--adapt.targets=[q,v]", ("q, v", "SerialLoRA", "exactly q, k, v")),
        Case("Nothing to train", "--adapt.adapter=null --adapt.train=[]", ("Nothing is trained", "adapt.adapter")),
    ],
    "Names on the command line": [
        Case("An unknown adapter", "--adapt.adapter=LoRa", ("LoRa", "did you mean LoRA")),
        Case("An unknown option of it", "--adapt.adapter.rnk=3", ("'rnk'", "did you mean rank?")),
        Case("An unknown rule", "--adapt.rules=[LoraPlus]", ("LoraPlus", "did you mean LoRAPlus")),
        Case("A rule that is not in a list", "--adapt.rules=LoRAPlus", ("LoRAPlus", "--adapt.rules '[LoRAPlus]'")),
        Case("An unknown data module", "--data=KvasirSeg", ("KvasirSeg", "did you mean KvasirSEG?")),
        Case("An unknown option of it", "--data.batchsize=3", ("'batchsize'", "did you mean batch_size")),
        Case("An unknown model", "--model=SamSegmentatio", ("SamSegmentatio", "did you mean SamSegmentation?")),
        Case("An unknown optimizer", "--model.optimizer=Adamw", ("model.optimizer is Adamw", "did you mean AdamW")),
        Case(
            "An optimizer's option, without optimizer",
            "--model.optimizer.lr=1",
            ("model.optimizer.lr", "name its class"),
        ),
        Case("An unknown choice", "--model.prompt=boxes", ("boxes", "did you mean box?")),
        Case("An unknown backbone", "--model.backbone=vitb", ("'vitb'", "vit_b, vit_l")),
        Case("An unknown option", "--trainr.max_epochs=3", ("trainr.max_epochs", "did you mean trainer.max_epochs")),
        Case("An unknown command", command="fitt", says=("'fitt'", "did you mean fit?")),
        Case(
            "An unknown command, near one that trains nothing",
            command="methds",
            config="",
            says=("did you mean methods?",),
        ),
        Case(
            "An unknown option of a command",
            "--markdwn",
            ("'markdwn'", "did you mean markdown?"),
            command="methods",
            config="",
        ),
        Case("No command", command="", config="", says=("No command", "fit", "export", "methods")),
        Case("No model and no data", config="", says=("No data and no model", "--config")),
    ],
    "Configuration files": [
        Case("A file that is not there", config="tinny.yaml", says=("tinny.yaml", "did you mean", "tiny.yaml")),
        Case("A folder", config="DATA", says=("DATA", "no file")),
        Case(
            "A tab", "--config=over.yaml", ("over.yaml, line 2", "tab", "spaces"), overlay("model:\n\tcheckpoint: x\n")
        ),
        Case(
            "A duplicate key",
            "--config=over.yaml",
            ("over.yaml, line 3", "max_steps", "line 2", "remove one"),
            overlay("trainer:\n  max_steps: 3\n  max_steps: 4\n"),
        ),
        Case(
            "No YAML",
            "--config=over.yaml",
            ("over.yaml, line 2", "correct it"),
            overlay("model: {checkpoint: x\ndata: {}"),
        ),
        Case("An empty file", "--config=over.yaml", ("over.yaml is empty", "leave it out"), overlay("")),
        Case(
            "A key without a value",
            "--config=over.yaml",
            ("line 1: adapt has no value", "fill it in"),
            overlay("adapt:\n"),
        ),
        Case("No keys at all", "--config=over.yaml", ("over.yaml", "KEY: VALUE"), overlay("- trainer\n")),
        Case(
            "A checkpoint in the place of YAML",
            config="last.ckpt",
            says=("last.ckpt", "YAML"),
            prepare=Place.checkpoint,
        ),
        Case("No model", config="over.yaml", says=("No model", "add"), prepare=overlay("data: PolypPhantoms\n")),
        Case(
            "An unknown adapter",
            "--config=over.yaml",
            ("LoRa", "did you mean LoRA"),
            overlay("adapt: {adapter: {class_path: graft.adapters.LoRa}}"),
        ),
        Case(
            "An unknown option of it",
            "--config=over.yaml",
            ("'rnk'", "did you mean rank?"),
            overlay("adapt: {adapter: {class_path: graft.adapters.LoRA, init_args: {rnk: 3}}}"),
        ),
        Case(
            "An adapter in an unknown module",
            "--config=over.yaml",
            ("graft.adapter.LoRA", "did you mean LoRA"),
            overlay("adapt: {adapter: {class_path: graft.adapter.LoRA}}"),
        ),
        Case(
            "An unknown rule",
            "--config=over.yaml",
            ("LoraPlus", "did you mean LoRAPlus"),
            overlay("adapt: {rules: [{class_path: graft.rules.LoraPlus}]}"),
        ),
        Case(
            "An unknown data module",
            "--config=over.yaml",
            ("KvasirSeg", "did you mean KvasirSEG?"),
            overlay("data: {class_path: graft.data.KvasirSeg}"),
        ),
        Case(
            "An unknown option",
            "--config=over.yaml",
            ("'trainer.max_epoch'", "did you mean trainer.max_epochs"),
            overlay("trainer: {max_epoch: 3}"),
        ),
        Case(
            "A word in the place of a list",
            "--config=over.yaml",
            ("adapt.where is image_encoder", "[image_encoder]"),
            overlay("adapt: {where: image_encoder}"),
        ),
    ],
    "Sizes": [
        Case("", "--model.image_size=0", ("multiple of 16", "not 0")),
        Case("", "--model.image_size=100", ("multiple of 16", "not 100")),
        Case("", "--data.image_size=0", ("image_size is 0", "at least 1")),
        Case("", "--data.batch_size=0", ("batch_size is 0", "at least 1")),
        Case("", "--data.batch_size=two", ("batch_size is two", "a whole number")),
        Case("", "--data.num_workers=-1", ("num_workers is -1", "at least 0")),
        Case("", "--model.num_classes=0", ("num_classes", "1 or more", "not 0")),
    ],
    "Checkpoints": [
        Case("A checkpoint that is not there", RESUME, ("last.ckpt", ".ckpt")),
        Case("A truncated checkpoint", RESUME, ("last.ckpt", "cut off", "Give another"), damaged),
        Case(
            "An empty checkpoint",
            RESUME,
            ("last.ckpt", "no complete checkpoint", "Give another"),
            text("last.ckpt", ""),
        ),
        Case("A folder as checkpoint", "--ckpt_path=DATA", ("DATA is a folder", "file")),
        Case(
            "A checkpoint that runs a program", RESUME, ("last.ckpt", "not loaded", "Give"), bomb("last.ckpt"), no_bomb
        ),
        Case(
            "An old pickle that runs a program",
            RESUME,
            ("last.ckpt", "Give another"),
            text("last.ckpt", pickle.dumps(Bomb())),
            no_bomb,
        ),
        Case("A checkpoint of another backbone", RESUME, ("vit_b", "tiny"), other_backbone),
        Case("A checkpoint of another rank", f"{RESUME} --adapt.adapter.rank=2", ("4", "2"), Place.checkpoint),
        Case(
            "A checkpoint of another method", f"{RESUME} --adapt.adapter=LoRA", ("SerialLoRA", "LoRA"), Place.checkpoint
        ),
        Case("No checkpoint", command="test", says=("`test` needs --ckpt_path",)),
    ],
    "Weights": [
        Case("Weights that are not there", "--model.checkpoint=sam.pth", ("sam.pth", ".pth")),
        Case(
            "Weights that are none", "--model.checkpoint=sam.pth", ("sam.pth", "tensors"), text("sam.pth", "no weights")
        ),
        Case(
            "Weights that run a program", "--model.checkpoint=sam.pth", ("sam.pth", "tensors"), bomb("sam.pth"), no_bomb
        ),
        Case(
            "A `.pth` that is not SAM",
            "--model.checkpoint=sam.pth",
            ("sam.pth is not a SAM tiny", "such as fc.weight"),
            lambda at: torch.save({"fc.weight": torch.zeros(2, 2)}, at.folder / "sam.pth"),
        ),
        Case(
            "Published weights with a wrong checksum",
            "--model.backbone=vit_b",
            ("sam_vit_b_01ec64.pth", "expected", "Delete it"),
            text("cache/sam/sam_vit_b_01ec64.pth", "other bytes"),
        ),
    ],
    "Disks": [
        Case(
            "The disk is full while a checkpoint is saved",
            SAVE,
            ("RUN/best-2.ckpt", "No space left", "make room"),
            full,
            kept,
        ),
        Case(
            "No permission to write the checkpoint (simulated)",
            SAVE,
            ("RUN/best-2.ckpt", "Permission denied", "choose another folder"),
            forbidden,
            kept,
        ),
        Case(
            "TensorBoard's folder on a read-only disk (simulated)",
            BOARD,
            ("LOGS", "Read-only file system", "--trainer.logger.save_dir"),
            lambda at: simulate(at, "os.mkdir", errno.EROFS, "LOGS"),
        ),
        Case(
            "TensorBoard's folder is a file",
            BOARD,
            ("LOGS", "Not a directory", "--trainer.logger.save_dir"),
            text("LOGS", "a file"),
        ),
        Case(
            "The folder of predictions is a file",
            PREDICT,
            ("OUT", "File exists", "--predictions.folder"),
            together(Place.checkpoint, text("OUT", "a file"), lambda at: at.save("NEW/a.png", noise("a"))),
            command="predict",
        ),
        Case(
            "The disk is full while a prediction is saved",
            PREDICT,
            ("No space left", "make room", "--predictions.folder"),
            full_predictions,
            command="predict",
        ),
    ],
    "Machines": [
        Case("A GPU where there is none", "--trainer.accelerator=gpu", ("No GPU", "give cpu"), lambda at: gpus(at, 0)),
        Case(
            "More GPUs than there are (simulated)",
            "--trainer.accelerator=gpu --trainer.devices=4",
            ("You requested gpu: [0, 1, 2, 3]", "only has: [0]"),
            lambda at: gpus(at, 1),
        ),
        Case("No device", "--trainer.devices=0", ("devices='0'", "not a valid input")),
        Case("A port that is taken", "--trainer.strategy=ddp", ("Port 29500", "set", "MASTER_PORT"), busy_port),
        Case(
            "Validation after more batches than there are",
            "--trainer.val_check_interval=7",
            ("(7)", "batches (1)", "set"),
        ),
        Case("A score that is not logged", "--checkpoint.monitor=val/dic", ("'val/dic'", "'val/dice'")),
        Case("A logger whose package is missing", "--trainer.logger=CometLogger", ("comet", "pip install")),
    ],
    "Prediction": [
        Case("An empty folder", PREDICT, ("NEW holds no images", "put some into it"), new, command="predict"),
        Case(
            "A folder that is not there",
            PREDICT,
            ("NEW does not exist", "create it"),
            Place.checkpoint,
            command="predict",
        ),
        Case("No folder", RESUME, ("predict_root was not given", "set"), Place.checkpoint, command="predict"),
        Case(
            "An image that is none, in a worker process",
            f"{PREDICT} --data.num_workers=1",
            ("NEW/a.png", "replace or remove"),
            together(Place.checkpoint, text("NEW/a.png", "no image")),
            command="predict",
        ),
        Case(
            "An image of 20,000 x 20,000 pixels",
            PREDICT,
            ("NEW/a.png", "pixels", "scale it down or tile it"),
            together(Place.checkpoint, text("NEW/a.png", png(20_000, 20_000))),
            command="predict",
        ),
        Case(
            "Boxes are needed, but there is no prompts.csv",
            f"{PREDICT} --model.prompt=box",
            ("needs a box", "prompts.csv"),
            lambda at: new(at, a=noise("a")),
            command="predict",
        ),
        Case(
            "Images of 1 x 5000 and 5000 x 1 pixels",
            PREDICT,
            (),
            lambda at: new(at, thin=noise("thin", 1, 5000), flat=noise("flat", 5000, 1)),
            sized((1, 5000), (5000, 1)),
            "Predicted, at that size.",
            command="predict",
        ),
        Case(
            "Grey, RGBA, 16-bit, CMYK, palette and EXIF-rotated images, and a name with a space and Unicode",
            PREDICT,
            (),
            all_kinds,
            sized(*[(56, 40)] * len(KINDS), (30, 20)),
            "Predicted, at each image's size once it is turned.",
            command="predict",
        ),
    ],
    **METHODS,
    **CLASSES,
    **COMMANDS,
    **KEPT,
}

HEAD = """\
# What Graft says of bad input

Each row is a test (of `tests/bad_input.py`, which writes this page): what was given, in a folder with a tiny experiment
and its data in `DATA` (from "Images of classes" on a tiny CLIP, and images in `CLASSES`), and what was said. What is
refused ends in this one line, after `error: `, and with exit code 1, or 2 where the command line or the configuration
is at fault. What is in italics was handled. A traceback is a bug: report it.
"""


def answer(case: Case, folder: Path) -> str:
    """Run a case: what the table says of it."""
    with place(folder) as at:
        said = case.run(at)
        if case.handled:
            assert said.code == 0, said.stderr
            assert said.cli is not None
            assert said.cli.trainer.global_step == (1 if case.command == "fit" else 0)
        else:
            assert said.code in (1, 2), said.stderr
            sentence = said.error(at)
            assert [part for part in case.says if part not in sentence] == [], sentence
        case.then(at)
        return f"*{case.handled}*" if case.handled else sentence


def page() -> str:
    """docs/errors.md, from runs of all cases."""
    parts = [HEAD]
    for title, cases in CASES.items():
        parts += [f"## {title}\n", "| given | said |", "|---|---|"]
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                parts.append(case.row(answer(case, Path(folder))))
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    ERRORS.write_text(page(), encoding="utf-8")
