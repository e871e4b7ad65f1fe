"""Data sets, named as in the configuration."""

from graft.data.augment import Augment
from graft.data.cvc_clinicdb import CVCClinicDB
from graft.data.folder import FolderSegmentation
from graft.data.kvasir_seg import KvasirSEG
from graft.data.polyp_phantoms import PolypPhantoms
from graft.data.segmentation import SegmentationData

__all__ = ["Augment", "CVCClinicDB", "FolderSegmentation", "KvasirSEG", "PolypPhantoms", "SegmentationData"]
