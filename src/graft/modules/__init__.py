"""The tasks: LightningModules, named as in YAML."""

from graft.modules.sam_segmentation import SamSegmentation

__all__ = ["SamSegmentation"]
