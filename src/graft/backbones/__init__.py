"""Frozen networks, built from a name."""

from graft.backbones.build import build_sam
from graft.backbones.sam import Sam

__all__ = ["Sam", "build_sam"]
