"""Singular values of frozen weights: computed once for each weight, in float64, with signs that do not vary.

Methods that train inside a weight's singular basis find it again when they are loaded. So the basis must be a function
of the weight alone: float64 keeps close singular values apart, and the largest entry of each left vector (the first of
those that are as large) is positive. Singular values that are equal, which trained weights do not have, leave it open.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from graft.cache import cache_dir
from graft.whole import whole

WORTH = 2**18  # entries of a weight (512 x 512) from which on it takes noticeable time
TIE = 1e-6  # entries whose sizes differ by less, relatively, may change places by rounding


@torch.no_grad()
def svd(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """W = U diag(S) Vh: U (d_out, m), S (m,) falling, Vh (m, d_in), with m = min(d_out, d_in).

    On the weight's device and in its dtype. What takes noticeable time is kept in the cache, by the weight's SHA-256.

    Raises:
        ValueError: the weight has no singular values, since it holds NaN.
    """
    if weight.numel() < WORTH or weight.is_meta:
        parts = decompose(weight)
    else:
        bytes_ = weight.detach().cpu().contiguous().view(torch.uint8).numpy().data
        name = f"{hashlib.sha256(bytes_).hexdigest()[:32]}-{weight.shape[0]}-{str(weight.dtype)[6:]}.safetensors"
        file = cache_dir() / "svd" / name
        kept = read(file, weight)
        parts = decompose(weight) if kept is None else kept
        if kept is None:
            write(file, parts)
    return parts["left"].to(weight), parts["values"].to(weight), parts["right"].to(weight)


def exact(weight: Tensor) -> Tensor:
    """The weight in float64 and on the CPU, where decompositions are as good as they can be.

    Raises:
        ValueError: it holds NaN or infinite values.
    """
    if weight.is_meta:
        return weight.detach().double()  # counting needs no values
    found = weight.detach().cpu().double()
    if not found.isfinite().all():
        raise ValueError("the weight holds NaN or infinite values, so it cannot be decomposed; get it again.")
    return found


def decompose(weight: Tensor) -> dict[str, Tensor]:
    """The parts, on the CPU and at least in float32."""
    left, values, right = torch.linalg.svd(exact(weight), full_matrices=False)
    size = left.abs()
    largest = (size > (1 - TIE) * size.amax(0)).int().argmax(0, keepdim=True)  # (1, m), the first of those that tie
    sign = left.gather(0, largest).sign()
    dtype = torch.promote_types(weight.dtype, torch.float32)
    parts = {"left": left * sign, "values": values, "right": right * sign.T}
    return {name: part.to(dtype).contiguous() for name, part in parts.items()}


def read(file: Path, weight: Tensor) -> dict[str, Tensor] | None:
    """The parts in the file; None where there is none, or where it is damaged and does not give the weight again."""
    try:
        parts = load_file(file)
    except (OSError, SafetensorError):
        return None
    again = parts["left"] * parts["values"] @ parts["right"]
    error = (again - weight.detach().cpu().to(again)).abs().max()
    return parts if error <= 1e-4 * parts["values"][0] else None


def write(file: Path, parts: dict[str, Tensor]) -> None:
    """Write a file, whole or not at all. A disk that is full costs time, not the run."""
    with suppress(OSError, SafetensorError), whole(file) as beside:
        save_file(parts, beside)
