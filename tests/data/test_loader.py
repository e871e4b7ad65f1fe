"""The order of items, and their division over processes."""

from collections import Counter

import pytest

from graft.data.loader import EpochSampler


def shards(length: int, world_size: int, epoch: int = 0, seed: int = 0, training: bool = True) -> list[list[int]]:
    found = []
    for rank in range(world_size):
        sampler = EpochSampler(range(length), training, seed, rank, world_size)
        sampler.set_epoch(epoch)
        pairs = list(sampler)
        assert len(pairs) == len(sampler)
        assert all(number == epoch for number, _ in pairs)
        found.append([index for _, index in pairs])
    return found


def test_order_depends_on_seed_and_epoch_alone() -> None:
    assert shards(50, 1, 3) == shards(50, 1, 3)
    orders = [shards(50, 1, epoch, seed)[0] for epoch in range(4) for seed in range(4)]
    assert len({tuple(order) for order in orders}) == 16
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != list(range(50))


@pytest.mark.parametrize(("length", "world_size"), [(10, 4), (8, 4), (2, 5), (1, 3)])
def test_training_shards_are_equal_and_leave_nothing_out(length: int, world_size: int) -> None:
    found = shards(length, world_size)
    share = -(-length // world_size)
    assert [len(shard) for shard in found] == [share] * world_size
    counts = Counter(index for shard in found for index in shard)
    assert set(counts) == set(range(length))
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(("length", "world_size"), [(10, 4), (8, 4), (2, 5)])
def test_evaluation_counts_everything_once_in_order(length: int, world_size: int) -> None:
    found = shards(length, world_size, training=False)
    assert sorted(index for shard in found for index in shard) == list(range(length))
    assert all(shard == sorted(shard) for shard in found)
