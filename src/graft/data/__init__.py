"""Data sets, named as in the configuration."""

from graft.data.classification.base import ClassificationData
from graft.data.classification.caltech101 import Caltech101
from graft.data.classification.crop import Crop
from graft.data.classification.digits import Digits
from graft.data.classification.dtd import DTD
from graft.data.classification.eurosat import EuroSAT
from graft.data.classification.fgvc_aircraft import FGVCAircraft
from graft.data.classification.flowers102 import Flowers102
from graft.data.classification.folder import FolderClassification
from graft.data.classification.food101 import Food101
from graft.data.classification.imagenet import ImageNet
from graft.data.classification.oxford_pets import OxfordPets
from graft.data.classification.stanford_cars import StanfordCars
from graft.data.classification.sun397 import SUN397
from graft.data.classification.ucf101 import UCF101
from graft.data.segmentation.augment import Augment
from graft.data.segmentation.base import SegmentationData
from graft.data.segmentation.cvc_clinicdb import CVCClinicDB
from graft.data.segmentation.folder import FolderSegmentation
from graft.data.segmentation.kvasir_seg import KvasirSEG
from graft.data.segmentation.polyp_phantoms import PolypPhantoms

__all__ = [
    "DTD",
    "SUN397",
    "UCF101",
    "Augment",
    "CVCClinicDB",
    "Caltech101",
    "ClassificationData",
    "Crop",
    "Digits",
    "EuroSAT",
    "FGVCAircraft",
    "Flowers102",
    "FolderClassification",
    "FolderSegmentation",
    "Food101",
    "ImageNet",
    "KvasirSEG",
    "OxfordPets",
    "PolypPhantoms",
    "SegmentationData",
    "StanfordCars",
]
