"""Something small to train: random images in the batches of `graft.data`, and a trainer that keeps quiet."""

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from graft.adapters import LoRA, SerialLoRA
from graft.callbacks import Adapt
from graft.data.batch import Item, collate
from graft.modules import SamSegmentation
from graft.modules.adapted import AdaptedModule

SIDE = 64
MEANT = (  # what libraries say of things that are meant
    r"Found \d+ module\(s\) in eval mode",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*does not have many workers.*",
    r"The number of training batches .* is smaller than the logging interval.*",
    r"Checkpoint directory .* exists and is not empty.*",
    r"The dirpath has changed from.*",
    r"It is recommended to use `self.log\('val/",
    r"Be aware that when using `ckpt_path`, callbacks used to create.*",
)


def item(index: int, num_classes: int = 1) -> Item:
    """A random image of its own size, with a rectangle for each class; the original is twice as large."""
    generator = torch.Generator().manual_seed(index)
    height, width = ((40, SIDE), (SIDE, 48), (56, SIDE))[index % 3]
    mask = torch.zeros(height, width, dtype=torch.uint8)
    for k in range(num_classes):
        mask[4 : height - 6, 4 + 12 * k : 14 + 12 * k] = k + 1
    original = F.interpolate(mask[None, None], scale_factor=2)[0, 0]
    image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
    padding = (0, SIDE - width, 0, SIDE - height)
    return Item(
        image=F.pad(image, padding),
        mask=F.pad(mask, padding),
        size=torch.tensor([height, width]),
        original_size=torch.tensor(original.shape),
        original_mask=original,
        original_image=image.repeat_interleave(2, 1).repeat_interleave(2, 2),
        box=torch.tensor([4.0, 4.0, 14.0, height - 6.0]),
        point=torch.tensor([8.0, height / 2]),
        name=f"image-{index}",
        path=f"image-{index}.png",
    )


def batch(size: int = 3, num_classes: int = 1) -> dict[str, Any]:
    """The first items together."""
    return collate([item(index, num_classes) for index in range(size)])


class Items(Dataset[Item]):
    def __init__(self, count: int, num_classes: int) -> None:
        self.count, self.num_classes = count, num_classes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        return item(index, self.num_classes)


class Data(LightningDataModule):
    """Two steps an epoch; validation, test and prediction see four images."""

    def __init__(self, num_classes: int = 1, shuffle: bool = False) -> None:
        super().__init__()
        self.classes = [f"kind_{k}" for k in range(num_classes)]
        self.shuffle = shuffle

    def loader(self, shuffle: bool = False) -> DataLoader[Item]:
        return DataLoader(Items(4, len(self.classes)), batch_size=2, shuffle=shuffle, collate_fn=collate)

    def train_dataloader(self) -> DataLoader[Item]:
        return self.loader(self.shuffle)

    val_dataloader = test_dataloader = predict_dataloader = loader


class Network(nn.Module):
    """What freezing is about: convolution, BatchNorm, dropout, attention, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 8, stride=8), nn.BatchNorm2d(16), nn.Dropout(0.5))
        self.attention = Attention()
        self.head = nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image.float() / 255).flatten(2).transpose(1, 2)
        return self.head(self.attention(x).mean(1))


class Attention(nn.Module):
    """One head. Where `bypass` is set its layer's forward is not called, as in some published networks."""

    bypass = False

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        fused = F.linear(x, self.qkv.weight) if self.bypass else self.qkv(x)
        return self.proj(F.scaled_dot_product_attention(*fused.chunk(3, dim=-1)))


class Toy(AdaptedModule):
    """Regression of a constant."""

    def __init__(self, **options: Any) -> None:
        torch.manual_seed(0)
        defaults = {"optimizer": lambda groups: torch.optim.AdamW(groups, lr=1e-2), "lr_scheduler": None, "warmup": 0.0}
        super().__init__("toy", Network(), **defaults | options)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return (self.model(batch["image"]) - 1).square().mean()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        pass


def sam(prompt: str = "none", num_classes: int = 1, **options: Any) -> SamSegmentation:
    """The tiny SAM, with the same random weights every time."""
    return SamSegmentation("tiny", SIDE, None, prompt, num_classes, **options)


def serial(**options: Any) -> Adapt:
    """The usual recipe: Serial LoRA in the encoder, the decoder trained whole."""
    return Adapt(**{"adapter": SerialLoRA(rank=2), "where": ["image_encoder"], "train": ["mask_decoder"]} | options)


def lora(**options: Any) -> Adapt:
    """LoRA in the toy, its head trained whole."""
    return Adapt(**{"adapter": LoRA(rank=2), "train": ["head"]} | options)


def trainer(folder: Path, *callbacks: Any, **options: Any) -> Trainer:
    """On the CPU, two steps unless told otherwise, without logs, checkpoints and words."""
    for message in MEANT:
        warnings.filterwarnings("ignore", message)
    defaults = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    if "max_epochs" not in options:
        defaults["max_steps"] = 2
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **defaults | options)
