"""Which photos are meant, and what their results are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from partswap.errors import UsageError
from partswap.inputs import collect_inputs


@pytest.fixture
def tree(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.png", "x/a.jpg", "y/deep/a.jpg", "notes.txt", "x/.hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def stems(*words: str, made: tuple[str, ...] = ()) -> list[str]:
    return [each.stem.as_posix() for each in collect_inputs(words, made)]


def test_files_folders_and_globs(tree: Path):
    assert stems("b.png") == ["b"]
    assert stems(".") == ["a", "b", "x/a", "y/deep/a"]
    assert stems("x") == ["a"]
    assert stems("*.jpg") == ["a"]
    assert stems("**/*.jpg") == ["a", "x/a", "y/deep/a"]
    assert stems(f"{tree}/y/*/*.jpg") == ["deep/a"]
    assert stems("b.png", "a.jpg") == ["b", "a"]


def test_a_file_whose_name_looks_like_a_glob(tree: Path):
    (tree / "holiday [1].jpg").touch()
    assert stems("holiday [1].jpg") == ["holiday [1]"]


def test_a_missing_file_is_left_for_later(tree: Path):
    assert stems("missing.jpg", "a.jpg") == ["missing", "a"]


def test_the_same_stem(tree: Path):
    (tree / "a.png").touch()
    assert stems("a.jpg", "a.png", "b.png") == ["a.jpg", "a.png", "b"]
    with pytest.raises(UsageError, match="each other's results"):
        stems("a.jpg", "x/a.jpg")
    (tree / "A.jpg").touch()
    if (tree / "a.jpg").samefile(tree / "A.jpg"):  # a file system where case does not count
        return
    with pytest.raises(UsageError, match="each other's results"):
        stems("a.jpg", "A.jpg")


def test_results_of_an_earlier_run_are_left_out(tree: Path):
    for name in ("a.parts.png", "a.jpg.parts.png", "x/a.chest.png", "c.parts.png"):
        (tree / name).touch()
    assert stems(".", made=(".parts.png", ".chest.png")) == ["a", "b", "c.parts", "x/a", "y/deep/a"]


def test_a_search_follows_no_links_to_folders_and_a_link_to_a_photo_is_one(tree: Path):
    (tree / "y" / "loop").symlink_to(tree, target_is_directory=True)
    (tree / "b-link.png").symlink_to(tree / "b.png")
    assert stems("**/*.jpg") == ["a", "x/a", "y/deep/a"]
    assert stems("y/loop/*.jpg") == ["a"], "a link that was named is followed"
    (tree / "x-link").symlink_to(tree / "x", target_is_directory=True)
    assert stems("x-*/**/*.jpg") == ["x-link/a"], "one that matches before the search, too"
    (tree / "x-link").unlink()
    assert stems("b.png", "b-link.png", "./b.png", "y/loop/b.png") == ["b", "b-link"]


@pytest.mark.parametrize("words", [[], [""], [" "], ["none-*.jpg"], ["empty"]])
def test_no_photos_at_all(tree: Path, words):
    (tree / "empty").mkdir()
    with pytest.raises(UsageError):
        collect_inputs(words)
