"""CVC-ClinicDB: 612 frames of 31 colonoscopy sequences with the outlines of their polyps.

Bernal et al., "WM-DOVA maps for accurate polyp highlighting in colonoscopy", CMIG 2015. Neighbouring frames look
alike: to measure how well a model generalises, list whole sequences in train.txt, val.txt and test.txt.
"""

from pathlib import Path
from typing import Any

from graft.cache import cache_dir
from graft.data.samples import Sample
from graft.data.segmentation.base import SegmentationData
from graft.data.segmentation.pairs import pair_files


class CVCClinicDB(SegmentationData):
    """CVC-ClinicDB, which you get by hand from polyp.grand-challenge.org/CVCClinicDB.

    Args:
        root: The folder that holds "Original" and "Ground Truth", and train.txt, val.txt and test.txt if you have them;
            else 80 : 10 : 10 by a hash of the name. Null for the folder CVC-ClinicDB in the cache.
        kwargs: Options of all data sets.
    """

    classes = ("polyp",)

    def __init__(self, root: Path | None = None, **kwargs: Any) -> None:
        super().__init__(cache_dir() / "CVC-ClinicDB" if root is None else root, **kwargs)

    def find(self) -> list[Sample]:
        images, masks = self.root / "Original", self.root / "Ground Truth"
        if not images.is_dir() or not masks.is_dir():
            raise FileNotFoundError(
                "CVC-ClinicDB is missing and cannot be fetched: get it from "
                "https://polyp.grand-challenge.org/CVCClinicDB/ and put its folders, of 612 .tif frames each, at "
                f"{images} and {masks}."
            )
        return pair_files(images, masks)
