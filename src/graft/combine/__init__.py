"""Several trained adapters into one: one way of combining, one file."""

from graft.combine.lego import LEGO
from graft.combine.method import Method
from graft.combine.orthogonal import Orthogonal
from graft.combine.sum import Sum
from graft.combine.svd import SVD
from graft.combine.ties import TIES

__all__ = ["LEGO", "SVD", "TIES", "Method", "Orthogonal", "Sum"]
