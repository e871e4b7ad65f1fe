"""In which order, and on which process, the items of a data set are read."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler


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
        done: Asked when an epoch begins: how many of its items this process has had already, in a run that was stopped.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        training: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        done: Callable[[], int] = int,
    ) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=training, seed=seed)
        self.length = len(dataset)  # type: ignore[arg-type]  # torch's Dataset does not declare its length
        self.done = done

    def __iter__(self) -> Iterator[Any]:
        return iter([(self.epoch, index) for index in self._shard()[self.done() :]])

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


class EpochLoader(DataLoader[Any]):
    """A loader that begins when its first batch is asked for, not when it is made into an iterator.

    Lightning makes the iterator before it knows the epoch and, in a run that goes on, the batch; workers that read
    ahead would then read the wrong items. Randomness of torch's own is drawn beside the run's, which so stays the same
    for any number of workers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {"generator": torch.Generator(), "worker_init_fn": settle_in}
        super().__init__(*args, **defaults | kwargs)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator runs when it is first asked
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the position is the trainer's. Lightning calls loaders with these two methods resumable."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing, likewise."""


def settle_in(worker: int) -> None:
    """Make a process that loads images leave its parent's work to its parent."""
    cv2.setNumThreads(0)  # OpenCV's own threads would fight the workers, and may hang after a fork
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGUSR1):  # a terminal sends Ctrl-C to all: the parent answers, and ends us
        signal.signal(number, signal.SIG_IGN)
