"""Kvasir-SEG: 1,000 colonoscopy images with the outlines of their polyps.

Jha et al., "Kvasir-SEG: A Segmented Polyp Dataset", MMM 2020, https://datasets.simula.no/kvasir-seg. For research and
education; cite the paper.
"""

import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from graft.archive import extract_zip
from graft.cache import cache_dir
from graft.data.samples import Sample
from graft.data.segmentation.base import SegmentationData
from graft.data.segmentation.checks import check_pairs
from graft.data.segmentation.pairs import pair_files
from graft.download import DownloadError, download

URL = "https://datasets.simula.no/downloads/kvasir-seg.zip"
PAIRS = 1000
MAX_BYTES = 10**9  # that the archive may unpack to; as published it is 46 MB, packed


class KvasirSEG(SegmentationData):
    """Kvasir-SEG, fetched on first use (46 MB) unless you give a folder.

    Args:
        root: A folder that holds images/ and masks/, and train.txt, val.txt and test.txt if you have them; else
            80 : 10 : 10 by a hash of the name. Null to fetch the set into the cache.
        kwargs: Options of all data sets.
    """

    classes = ("polyp",)

    def __init__(self, root: Path | None = None, **kwargs: Any) -> None:
        super().__init__(cache_dir() / "Kvasir-SEG" if root is None else root, **kwargs)
        self.fetched = root is None

    def fetch(self) -> None:
        if self.fetched and not self.root.is_dir():
            fetch_kvasir(self.root)

    def find(self) -> list[Sample]:
        if not (self.root / "images").is_dir() or not (self.root / "masks").is_dir():
            raise FileNotFoundError(
                f"{self.root} does not hold the folders images and masks; put Kvasir-SEG there, or leave root out to "
                "have it fetched."
            )
        return pair_files(self.root / "images", self.root / "masks")


def fetch_kvasir(root: Path) -> None:
    """Download and unpack the set, look at every file, and only then move it to `root`.

    Raises:
        DownloadError: The set cannot be reached, or is not what it should be.
    """
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root}.lock"):
            if not root.is_dir():  # else another process has fetched it while this one waited
                _fetch(root, root.with_name("kvasir-seg.zip"), root.with_name("kvasir-seg"))
    except (DownloadError, OSError, ValueError) as error:
        reason = str(error)
        if isinstance(error, OSError) and error.strerror:
            reason = f"{root} cannot be written ({error.strerror}): make room there, or choose another folder."
        raise DownloadError(
            f"{reason} To get Kvasir-SEG by hand, unpack {URL} so that {root / 'images'} and {root / 'masks'} exist "
            "(`make demo` needs neither the network nor this set)."
        ) from error


def _fetch(root: Path, archive: Path, unpacked: Path) -> None:
    """Download, unpack, look, move. An archive that fails is not kept; what a download lacks can still be fetched."""
    download(URL, archive)
    try:
        extract_zip(archive, unpacked, max_bytes=MAX_BYTES)
        check_kvasir(unpacked / "Kvasir-SEG")
        (unpacked / "Kvasir-SEG").rename(root)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        archive.unlink(missing_ok=True)


def check_kvasir(root: Path) -> None:
    """Count and read all pairs: no checksum is published."""
    samples = pair_files(root / "images", root / "masks")
    if len(samples) != PAIRS:
        raise ValueError(f"{URL} holds {len(samples)} pairs of image and mask, but {PAIRS} were expected.")
    check_pairs(samples, num_classes=1, most=PAIRS)
