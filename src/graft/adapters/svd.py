"""Singular values of frozen weights: computed once for each weight, in float64, with signs that do not vary.

Methods that train inside a weight's singular basis find it again when they are loaded. So the basis must be a function
of the weight alone: float64 keeps close singular values apart, and the largest entry of each left vector is positive.
"""

import hashlib
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graft.cache import cache_dir

WORTH = 2**18  # entries of a weight (512 x 512) from which on it takes noticeable time


@torch.no_grad()
def svd(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """W = U diag(S) Vh: U (d_out, m), S (m,) falling, Vh (m, d_in), with m = min(d_out, d_in).

    On the weight's device and in its dtype. What takes noticeable time is kept in the cache, by the weight's SHA-256.

    Raises:
        ValueError: the weight has no singular values, since it holds NaN, or they cannot be computed.
    """
    if weight.numel() < WORTH or weight.is_meta:
        parts = decompose(weight)
    else:
        bytes_ = weight.detach().cpu().contiguous().view(torch.uint8).numpy().data
        name = f"{hashlib.sha256(bytes_).hexdigest()[:32]}-{weight.shape[0]}-{str(weight.dtype)[6:]}.safetensors"
        file = cache_dir() / "svd" / name
        if not file.is_file():
            write(file, decompose(weight))
        parts = load_file(file)
    return parts["left"].to(weight), parts["values"].to(weight), parts["right"].to(weight)


def decompose(weight: Tensor) -> dict[str, Tensor]:
    """The parts, on the CPU and at least in float32."""
    exact = (weight if weight.is_meta else weight.cpu()).detach().double()  # counting needs no values
    try:
        left, values, right = torch.linalg.svd(exact, full_matrices=False)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        reason = "holds NaN or infinite values" if not exact.isfinite().all() else "is too ill-conditioned"
        raise ValueError(f"the weight {reason}, so its singular values cannot be computed; get it again.") from error
    largest = left.gather(0, left.abs().argmax(0, keepdim=True)).sign()  # (1, m)
    dtype = torch.promote_types(weight.dtype, torch.float32)
    parts = {"left": left * largest, "values": values, "right": right * largest.T}
    return {name: part.to(dtype).contiguous() for name, part in parts.items()}


def write(file: Path, parts: dict[str, Tensor]) -> None:
    """Write beside and rename, so that a file by this name is whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}.part")
    save_file(parts, beside)
    beside.replace(file)
