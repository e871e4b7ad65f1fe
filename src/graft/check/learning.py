"""What the steps on one batch say of the wiring and of the learning rate.

A rate that suits a data set moves the weights far enough in 30 steps that a loss which always comes from the same few
images falls by a tenth at the least, mostly by more than half; docs/check.md has what was measured. Less is a warning,
for a long run may get there with small steps. What stops a run from learning at all is fatal: no gradient, no change of
the weights, a change that the loss does not feel, steps that overshoot, and numbers that are none.
"""

from collections.abc import Iterator
from itertools import accumulate

from graft.check.finding import Finding
from graft.check.overfit import Learnt
from graft.data.files import name_some

LEARNT = 0.1
"""Share of the loss that must go."""
KNOWN = 0.05
"""A batch whose loss is below is known by heart before the first step."""
FELT = 1e-7
"""Where a smaller share of the loss has changed, it is the rounding of float32."""
BOUNCED = 0.02
"""Small steps take a loss down evenly; where one rises by such a share of the first one, the steps are too large."""
OVERSHOT = 1.1
"""Steps that take the loss so far above the first one are hopeless, where smaller bounces are only a waste."""

RATE = "model.optimizer.init_args.lr"


def unreached(learnt: Learnt) -> Iterator[Finding]:
    """Tensors that are trained and get no gradient: their module is bypassed."""
    if learnt.unreached:
        yield Finding(
            f"{len(learnt.unreached)} of {len(learnt.trained)} trained tensors got no gradient: "
            f"{name_some(learnt.unreached)}. Their module's forward is bypassed, or the loss does not depend on it: "
            "leave them out by adapt.where, adapt.targets or adapt.train.",
            fatal=True,
        )


def silent(learnt: Learnt) -> Iterator[Finding]:
    """Tensors whose gradient stays zero, though the weights change."""
    every = learnt.silent == learnt.trained
    if finished(learnt) and learnt.silent and (every or learnt.still != learnt.trained):
        yield Finding(
            f"The gradient of {len(learnt.silent)} of {len(learnt.trained)} trained tensors was zero in all "
            f"{learnt.steps} steps: {name_some(sorted(learnt.silent))}. What they compute does not reach the loss: "
            "leave them out by adapt.where, adapt.targets or adapt.train.",
            fatal=every,
        )


def still(learnt: Learnt) -> Iterator[Finding]:
    """An optimizer that changes nothing."""
    if finished(learnt) and learnt.still == learnt.trained != learnt.silent:
        yield Finding(
            f"There is a gradient, but no trained value changed in {learnt.steps} steps: the learning rate is "
            f"{learnt.rate:g}.",
            f"{RATE}: 1.0e-3",
            fatal=True,
        )


def unfelt(learnt: Learnt) -> Iterator[Finding]:
    """Weights that change while the loss does not."""
    if moving(learnt) and abs(gone(learnt)) < FELT:
        yield Finding(
            f"The weights changed, but the loss of the batch is {learnt.losses[1]:.4f} after {learnt.steps} steps at "
            f"the rate {learnt.rate:g} as before them: what is trained has no influence on it, or next to none.",
            f"{RATE}: {10 * learnt.rate:.1e}",
            fatal=True,
        )


def overshot(learnt: Learnt) -> Iterator[Finding]:
    """A loss that rises on the way, and is not low at the end."""
    if moving(learnt) and gone(learnt) < LEARNT and abs(gone(learnt)) >= FELT and bounced(learnt):
        yield Finding(
            f"The loss of the batch went from {learnt.losses[0]:.4f}, over {max(learnt.path):.4f}, to "
            f"{learnt.losses[1]:.4f} in {learnt.steps} steps: at the rate {learnt.rate:g} they are too large.",
            f"{RATE}: {learnt.rate / 10:.1e}",
            fatal=gone(learnt) < 0 or max(learnt.path) > OVERSHOT * learnt.path[0],
        )


def slow(learnt: Learnt) -> Iterator[Finding]:
    """A loss that hardly falls, though there is some."""
    if moving(learnt) and learnt.losses[0] > KNOWN and FELT <= gone(learnt) < LEARNT and not bounced(learnt):
        yield Finding(
            f"The loss of the batch only went from {learnt.losses[0]:.4f} to {learnt.losses[1]:.4f} in {learnt.steps} "
            f"steps at the rate {learnt.rate:g}: give ten times that, or time.",
            f"{RATE}: {10 * learnt.rate:.1e}",
        )


def finished(learnt: Learnt) -> bool:
    """Whether all steps were done."""
    return len(learnt.losses) == 2


def moving(learnt: Learnt) -> bool:
    """Whether the steps changed weights, for a reason."""
    return finished(learnt) and learnt.still != learnt.trained != learnt.silent


def bounced(learnt: Learnt) -> bool:
    """Whether steps made the loss larger: in the end, or on the way."""
    lowest = accumulate(learnt.path, min)
    rises = (loss - low for loss, low in zip(learnt.path, lowest, strict=True))
    return gone(learnt) < 0 or max(rises) > BOUNCED * learnt.path[0]


def gone(learnt: Learnt) -> float:
    """Share of the first loss that is gone."""
    first, last = learnt.losses
    return (first - last) / max(abs(first), 1e-12)


LOOKS = (unreached, silent, still, unfelt, overshot, slow)
