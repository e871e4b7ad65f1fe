"""What `inspect` says of a file is what is in it; a stranger's file is called by its name."""

import json
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import save_file

from graft.adapters import DoRA, LoRA, inject, save
from graft.backbones import build_sam
from graft.modules import SamSegmentation
from tests.e2e import BASE, CONFIGS, graft, refused, tiny

EMBEDDED = CONFIGS / "embedded/sam_polyp.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run."""
    folder = tmp_path_factory.mktemp("run")
    config = {
        "model": {"class_path": "SamSegmentation", "init_args": {}},
        "data": {"class_path": "PolypPhantoms"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cli = graft("fit", "--config", BASE, "--config", EMBEDDED, *tiny(config, folder))
    log = folder / str(cli.trainer.log_dir)
    return SimpleNamespace(cli=cli, last=log / "checkpoints/last.ckpt", config=log / "config.yaml")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def told(capsys: pytest.CaptureFixture[str], *args: Any) -> dict[str, str]:
    """The lines of what is said, by their first words."""
    capsys.readouterr()
    graft("inspect", *args)
    lines = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines() if line.strip()]
    return {line[0]: " ".join(line[1:]) for line in lines}


def test_a_checkpoint_is_told(run: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = SamSegmentation.load_from_checkpoint(run.last)
    monkeypatch.setattr("graft.modules.sam_segmentation.build_sam", None)  # the backbone is not built
    said = told(capsys, run.last)
    trained = {name: p.numel() for name, p in module.model.named_parameters() if p.requires_grad}
    adapters = sum(count for name, count in trained.items() if ".adapter." in name)
    assert said["method"] == "SerialLoRA: rank 8, dropout 0.0"
    assert said["on"].startswith("q, k, v in 2 blocks: image_encoder.blocks.0.attn, image_encoder.blocks.1.attn")
    assert said["sites"] == "2"
    assert said["trained values"] == f"adapters {adapters:,}"
    assert said["mask_decoder"] == f"{sum(trained.values()) - adapters:,}"
    assert said["together"] == f"{sum(trained.values()):,}"
    assert module.frozen_sha256()[:16] in said["backbone"]
    assert said["to go on with"].startswith("step 2, epoch 0")
    now = run.cli.trainer.callback_metrics["val/dice"]
    assert f"{float(now):.4f} here" in said["val/dice"]
    assert "before the first step" in said["val/dice"]
    assert said["optimizer"].startswith("AdamW: lr 0.001")
    assert said["data"].startswith("PolypPhantoms: root ")
    assert f"{run.last.stat().st_size / 1e6:,.2f} MB" in next(iter(said))


def test_the_whole_configuration_is_printed(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    graft("inspect", run.last, "--config", "true")
    printed = [line.rstrip() for line in capsys.readouterr().out.strip().splitlines()]
    assert printed == run.config.read_text().strip().splitlines()


def test_an_adapter_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_sam("tiny", 64, None)
    sites = inject(model, LoRA(rank=3, alpha=6), where=["image_encoder"])
    save(model, tmp_path / "a.safetensors")
    said = told(capsys, tmp_path / "a.safetensors")
    assert said["method"].startswith("LoRA: rank 3, alpha 6")
    assert said["sites"] == str(len(sites))
    assert said["trained values"] == f"adapters {sum(site.parameters for site in sites):,}"
    assert said["backbone"].startswith("tiny, frozen weights")
    assert "to go on with" not in said


def test_parts_trained_without_an_adapter_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_sam("tiny", 64, None).requires_grad_(False)
    model.mask_decoder.requires_grad_(True)
    save(model, tmp_path / "a.safetensors")
    assert told(capsys, tmp_path / "a.safetensors")["method"] == "no adapter: whole parts were trained"


def test_an_adapter_file_has_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_sam("tiny", 64, None)
    inject(model, DoRA(rank=2), where=["image_encoder"])
    save(model, tmp_path / "a.safetensors")
    assert "holds no configuration" in refused(capsys, "inspect", tmp_path / "a.safetensors", "--config", "true")


class Other(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, _: int) -> Any:
        return self.layer(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def of_lightning(folder: Path) -> Path:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Lightning says of one batch
        trainer.fit(Other(), torch.utils.data.DataLoader(torch.ones(1, 2)))
    trainer.save_checkpoint(folder / "other.ckpt")
    return folder / "other.ckpt"


def of_sam(folder: Path) -> Path:
    torch.save(build_sam("tiny", 64, None).state_dict(), folder / "sam.pth")
    return folder / "sam.pth"


def of_sam_wrapped(folder: Path) -> Path:
    torch.save({"model": build_sam("tiny", 64, None).state_dict(), "epoch": 3}, folder / "sam.pth")
    return folder / "sam.pth"


def of_clip(folder: Path) -> Path:
    from transformers import CLIPConfig, CLIPModel

    tiny = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    CLIPModel(CLIPConfig(text_config=tiny, vision_config=tiny)).save_pretrained(folder / "clip")
    return folder / "clip/model.safetensors"


def of_clip_folder(folder: Path) -> Path:
    return of_clip(folder).parent


def of_peft(folder: Path) -> Path:
    peft = pytest.importorskip("peft")
    base = torch.nn.Sequential(torch.nn.Linear(4, 4))
    peft.get_peft_model(base, peft.LoraConfig(target_modules=["0"], r=2)).save_pretrained(folder / "peft")
    return folder / "peft/adapter_model.safetensors"


def of_peft_folder(folder: Path) -> Path:
    return of_peft(folder).parent


def of_nobody(folder: Path) -> Path:
    save_file({"weight": torch.ones(2)}, folder / "a.safetensors")
    return folder / "a.safetensors"


def of_a_list(folder: Path) -> Path:
    torch.save([1, 2], folder / "a.ckpt")
    return folder / "a.ckpt"


def of_text(folder: Path) -> Path:
    (folder / "a.yaml").write_text(json.dumps({"model": 1}))
    return folder / "a.yaml"


def of_a_program(folder: Path) -> Path:
    torch.save({"state_dict": {}, "made": Other}, folder / "a.ckpt")
    return folder / "a.ckpt"


def cut_off(folder: Path) -> Path:
    path = of_nobody(folder)
    path.write_bytes(path.read_bytes()[:-4])
    return path


def nothing(folder: Path) -> Path:
    return folder / "none.ckpt"


STRANGERS = {
    of_lightning: r"a Lightning checkpoint of another project \(step 1\), with 2 tensors of an unknown network",
    of_sam: "weights of Segment Anything or of a relative: give them to --model.checkpoint",
    of_sam_wrapped: "weights of Segment Anything or of a relative: give them to --model.checkpoint",
    of_clip: "weights of a CLIP or SigLIP of transformers: give its folder to --model.backbone",
    of_clip_folder: "the folder of a model of transformers: give the folder to --model.backbone",
    of_peft: "an adapter of PEFT's, which peft.PeftModel loads",
    of_peft_folder: "the folder of an adapter of PEFT's, which peft.PeftModel loads",
    of_nobody: r"1 tensor of an unknown network \(weight\)",
    of_a_list: "a list",
    of_text: "is no complete checkpoint: it was cut off, or is something else",
    of_a_program: "holds more than tensors and plain values",
    cut_off: "cannot be read as safetensors",
    nothing: "There is no checkpoint",
}


@pytest.mark.parametrize("make", STRANGERS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_strangers_file_is_called_by_its_name(make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path)
    said = refused(capsys, "inspect", path)
    assert re.search(STRANGERS[make], said), said
    assert str(path) in said
