"""What a combination is written into: an adapter file, as `graft.adapters.save` writes it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from graft.adapters.storage import FORMAT, write
from graft.combine.sites import Site, described


def write_adapter(
    path: Path, sites: Sequence[Site], parts: Mapping[str, Tensor], backbone: str, frozen_sha256: str
) -> None:
    """Write adapters and what was trained beside them, for the backbone of this name and hash."""
    tensors = {f"{site.name}.{leaf}": value for site in sites for leaf, value in site.adapter.named_parameters()}
    metadata = {
        "format": FORMAT,
        "adapters": json.dumps(described(sites)),
        "backbone": backbone,
        "frozen_sha256": frozen_sha256,
    }
    write(path, {**tensors, **parts}, metadata)
