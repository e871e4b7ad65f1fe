"""What happens around training: adapting the backbone, and everything that a person looks at."""

from graft.callbacks.adapt import Adapt
from graft.callbacks.baseline import Baseline
from graft.callbacks.cache_prefix import CachePrefix
from graft.callbacks.checkpoints import Checkpoints
from graft.callbacks.confusion import Confusion
from graft.callbacks.encode import Encode
from graft.callbacks.guard import Guard
from graft.callbacks.meters import Meters
from graft.callbacks.norms import Norms
from graft.callbacks.pictures import Pictures
from graft.callbacks.precision_recall import PrecisionRecall
from graft.callbacks.predictions import SavePredictions
from graft.callbacks.resume import ExactResume
from graft.callbacks.spectra import Spectra
from graft.callbacks.summary import Summary

__all__ = [
    "Adapt",
    "Baseline",
    "CachePrefix",
    "Checkpoints",
    "Confusion",
    "Encode",
    "ExactResume",
    "Guard",
    "Meters",
    "Norms",
    "Pictures",
    "PrecisionRecall",
    "SavePredictions",
    "Spectra",
    "Summary",
]
