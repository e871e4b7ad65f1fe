"""Data sets, named as in the configuration."""

from graft.data.augment import Augment
from graft.data.caltech101 import Caltech101
from graft.data.classification import ClassificationData
from graft.data.crop import Crop
from graft.data.cvc_clinicdb import CVCClinicDB
from graft.data.digits import Digits
from graft.data.dtd import DTD
from graft.data.eurosat import EuroSAT
from graft.data.fgvc_aircraft import FGVCAircraft
from graft.data.flowers102 import Flowers102
from graft.data.folder import FolderSegmentation
from graft.data.folder_classification import FolderClassification
from graft.data.food101 import Food101
from graft.data.imagenet import ImageNet
from graft.data.kvasir_seg import KvasirSEG
from graft.data.oxford_pets import OxfordPets
from graft.data.polyp_phantoms import PolypPhantoms
from graft.data.segmentation import SegmentationData
from graft.data.stanford_cars import StanfordCars
from graft.data.sun397 import SUN397
from graft.data.ucf101 import UCF101

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
