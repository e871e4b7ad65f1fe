"""Frozen networks, built from a name."""

from graft.backbones.build import build_sam
from graft.backbones.clip import build_clip
from graft.backbones.sam import Sam

__all__ = ["Sam", "build_clip", "build_sam"]
