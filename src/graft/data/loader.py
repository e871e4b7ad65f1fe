"""In which order, and on which process, the items of a data set are read."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Dataset, DistributedSampler


class EpochSampler(DistributedSampler[Any]):
    """Yields pairs (epoch, index), so that an item can draw its randomness from the epoch it is read in.

    In training the order is a pure function of (seed, epoch), and indices from its beginning are repeated at its end
    until every process has equally many. In evaluation the order is 0, 1, 2, ... and nothing is repeated, so that no
    item counts twice and processes may differ by one. (A `DistributedSampler`, so that Lightning adds no other.)

    Args:
        dataset: What is indexed.
        training: Whether to shuffle, and to repeat.
        seed: Seed of the order.
        rank: This process, from 0.
        world_size: Number of processes.
    """

    def __init__(
        self, dataset: Dataset[Any], training: bool = False, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=training, seed=seed)
        self.length = len(dataset)  # type: ignore[arg-type]  # torch's Dataset does not declare its length

    def __iter__(self) -> Iterator[Any]:
        return iter([(self.epoch, index) for index in self._shard()])

    def __len__(self) -> int:
        return len(range(self.rank, self._total(), self.num_replicas))

    def _shard(self) -> list[int]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        shard: list[int] = np.resize(order, self._total())[self.rank :: self.num_replicas].tolist()
        return shard

    def _total(self) -> int:
        """Number of items over all processes, repeated ones included."""
        return -(-self.length // self.num_replicas) * self.num_replicas if self.shuffle else self.length
