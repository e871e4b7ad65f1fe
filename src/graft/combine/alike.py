"""What adapters must have in common to be combined."""

from collections.abc import Sequence
from itertools import product

from graft.adapters import InputAdapter
from graft.combine.sources import Trained


def check_alike(sources: Sequence[Trained]) -> None:
    """Refuse adapters of different backbones, in different places, or of different kinds.

    Raises:
        ValueError: they are.
    """
    first = sources[0]
    for other in sources[1:]:
        both = f"{first.path} and {other.path}"
        if odd := first.parts.keys() ^ other.parts.keys():
            has, lacks = (first, other) if min(odd) in first.parts else (other, first)
            raise ValueError(
                f"{has.path} holds {min(odd)}, which was trained beside its adapters, and {lacks.path} does not: what "
                "is frozen differs, so that hashes cannot tell whether the backbone is one. Train the same parts."
            )
        if first.frozen_sha256 != other.frozen_sha256:
            raise ValueError(
                f"{both} were trained on different weights ({first.backbone}, sha256 {first.frozen_sha256[:8]}, and "
                f"{other.backbone}, {other.frozen_sha256[:8]}): updates of one backbone mean nothing to another."
            )
        for one, two in product(first.sites.values(), other.sites.values()):
            alone = one.block == two.block and {*one.targets} & {*two.targets}
            if alone and isinstance(one.adapter, InputAdapter) != isinstance(two.adapter, InputAdapter):
                raise ValueError(
                    f"{both} hold {type(one.adapter).__name__} and {type(two.adapter).__name__}: one acts on the input "
                    "of q, k and v, the other on a weight, and their updates do not add. Give adapters of one kind."
                )
        if odd := first.sites.keys() ^ other.sites.keys():
            raise ValueError(f"{both} adapt different places ({min(odd)} differs): train with the same targets.")
