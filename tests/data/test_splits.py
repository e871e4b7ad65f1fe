"""Lists decide; a hash decides what they leave open."""

from pathlib import Path

import pytest

from graft.data.samples import Sample
from graft.data.splits import split_by_hash, split_samples


def samples(names: list[str]) -> list[Sample]:
    return [Sample(name, Path(f"{name}.png"), Path(f"{name}.png")) for name in names]


def names_of(split: list[Sample]) -> list[str]:
    return [sample.name for sample in split]


def write(root: Path, split: str, *lines: str) -> None:
    (root / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_hash_is_fixed_for_ever() -> None:
    # sha256("a") = ca97..., 0xca97 / 0x10000 = 0.791; sha256("b") = 3e23... = 0.243; sha256("e") = 3f79... = 0.248
    # sha256("d") = 18ac... = 0.096, sha256("f") = 252f... = 0.145
    # sha256("g") = cd0a... = 0.801; sha256("i") = de7d... = 0.869
    assert [split_by_hash(name) for name in "abdefgi"] == ["train"] * 5 + ["val"] * 2


def test_hash_keeps_the_proportion_and_adding_a_file_moves_no_other(tmp_path: Path) -> None:
    names = [f"image {number}" for number in range(2000)]
    before = split_samples(samples(names), tmp_path)
    after = split_samples(samples(["new", *names]), tmp_path)
    assert [len(before[split]) / 2000 for split in ("train", "val", "test")] == pytest.approx([0.8, 0.1, 0.1], abs=0.03)
    for split in before:
        assert [name for name in names_of(after[split]) if name != "new"] == names_of(before[split])


def test_lists_decide_with_and_without_extension(tmp_path: Path) -> None:
    write(tmp_path, "train", "a.jpg", "", "b c")
    write(tmp_path, "val", "ü.b.png")
    write(tmp_path, "test", "d.e")
    splits = split_samples(samples(["a", "b c", "d.e", "ü.b"]), tmp_path)
    assert [names_of(splits[split]) for split in ("train", "val", "test")] == [["a", "b c"], ["ü.b"], ["d.e"]]


def test_what_the_lists_leave_open_goes_where_there_is_no_list(tmp_path: Path) -> None:
    write(tmp_path, "train", "a")
    write(tmp_path, "val", "b")
    assert split_samples(samples(["a", "b"]), tmp_path)["test"] == []
    splits = split_samples(samples(list("abcdefgh")), tmp_path)
    assert [names_of(splits[split]) for split in ("train", "val", "test")] == [["a"], ["b"], list("cdefgh")]


def test_full_lists_leave_the_rest_to_the_hash(tmp_path: Path) -> None:
    for split, name in (("train", "x"), ("val", "y"), ("test", "z")):
        write(tmp_path, split, name)
    splits = split_samples(samples(["a", "g", "x", "y", "z"]), tmp_path)
    assert [names_of(splits[split]) for split in ("train", "val", "test")] == [["a", "x"], ["g", "y"], ["z"]]


def test_name_in_two_lists(tmp_path: Path) -> None:
    write(tmp_path, "train", "a")
    write(tmp_path, "test", "a.png")
    with pytest.raises(ValueError, match=r"^a is listed in both .*train\.txt and .*test\.txt"):
        split_samples(samples(["a"]), tmp_path)


def test_listed_name_without_image(tmp_path: Path) -> None:
    write(tmp_path, "val", "ghost.png")
    with pytest.raises(ValueError, match=r"val\.txt lists ghost\.png, but there is no such image"):
        split_samples(samples(["a"]), tmp_path)
