"""What adapters have learnt, seen by singular values: of a weight W, of its change dW = W' - W, and of W' = W + dW.

After Figure 3 of Serial LoRA (arXiv 2503.17750). All is computed in float64 from the law of adapters, W' = fold(W).
"""

from graft.spectra.draw import draw
from graft.spectra.spectrum import Spectrum, changes, effective_rank, spectra

__all__ = ["Spectrum", "changes", "draw", "effective_rank", "spectra"]
