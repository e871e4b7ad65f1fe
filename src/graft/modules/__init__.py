"""The tasks: LightningModules, named as in YAML."""

from graft.modules.clip_classification import ClipClassification
from graft.modules.sam_segmentation import SamSegmentation

__all__ = ["ClipClassification", "SamSegmentation"]
