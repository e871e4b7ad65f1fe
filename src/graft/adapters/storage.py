"""How an adapter file is written and read: safetensors, whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from graft.whole import whole

FORMAT = "graft-adapter-1"
REVERSIBLE = "graft-reversible-1"
KNOWN = {
    FORMAT: "an adapter file made by `save`",
    REVERSIBLE: "a file of several adapters, of which `main.py combine FILE --extract INDEX` takes one out",
}
"""What the formats are."""


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file, whole or not at all.

    Raises:
        ValueError: it cannot be written; what bore its name is untouched.
    """
    try:
        with whole(Path(path)) as beside:
            save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, beside, metadata)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be written ({error}): make room, or choose another place.") from error


def read(path: str | Path, form: str = FORMAT) -> tuple[dict[str, str], dict[str, Tensor]]:
    """A file's metadata, and its tensors by name.

    Args:
        path: The file.
        form: The format that it must have.

    Raises:
        ValueError: it cannot be read, or is another file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an adapter file ({error}); expected one made by `save`.") from error
    if (found := metadata.get("format", "")) != form:
        raise ValueError(f"{path} is {KNOWN.get(found, 'a safetensors file of another kind')}, not {KNOWN[form]}.")
    return metadata, tensors
