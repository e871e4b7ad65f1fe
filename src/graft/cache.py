"""Where Graft keeps what it fetched, drew or computed once."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The folder for fetched, generated and computed files: $GRAFT_CACHE, or ~/.cache/graft where that is not set."""
    return Path(os.environ.get("GRAFT_CACHE") or "~/.cache/graft").expanduser()
