"""EuroSAT: 27,000 Sentinel-2 satellite images, in red, green and blue, of 10 kinds of land use.

Helber et al., "EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover Classification", JSTARS
2019, https://github.com/phelber/EuroSAT. MIT licence; cite the paper.
"""

from torchvision import datasets  # type: ignore[import-untyped]

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division
from graft.data.classification.published import OR_FETCH, fetch_published, folders_division, require

FILES = ("2750",)
HOW = "unpack EuroSAT.zip, of https://github.com/phelber/EuroSAT, so that its folder 2750 is there"
RENAMED = {
    "AnnualCrop": "Annual Crop Land",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "SeaLake": "Sea or Lake",
}


class EuroSAT(ClassificationData):
    """EuroSAT, fetched on first use (90 MB) unless you give a folder.

    Looked for are 2750/ and, for CoOp's split, split_zhou_EuroSAT.json. There is no official split: each class is
    divided 50 : 20 : 30, as CoOp does, but by a hash of the path. The classes have CoOp's names.
    """

    folder = "eurosat"
    split_file = "split_zhou_EuroSAT.json"
    images = "2750"
    template = "a centered satellite photo of {}."

    def fetch(self) -> None:
        fetch_published(self, datasets.EuroSAT, "eurosat", HOW)

    def official(self) -> Division:
        require(self.root, FILES, f"{HOW}, {OR_FETCH}")
        return folders_division(self.root / self.images, (), RENAMED)
