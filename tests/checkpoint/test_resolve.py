"""From `--model` words to folders; nothing here touches a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from partswap.checkpoint import embedded_models, is_embedded, resolve
from partswap.checkpoint.hub_errors import sentence
from partswap.checkpoint.hub_id import HubId, origin, parse_hub_id
from partswap.errors import ModelError


def test_folders(tiny_checkpoint: Path, tmp_path: Path):
    assert resolve.resolve_model(tiny_checkpoint) == tiny_checkpoint
    assert resolve.resolve_model(str(tiny_checkpoint)) == tiny_checkpoint
    run = tmp_path / "run"  # what `train --out run` leaves
    run.mkdir()
    (run / "model").symlink_to(tiny_checkpoint)
    assert resolve.resolve_model(run) == run / "model"


def test_embedded_models(tiny_checkpoint: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(resolve, "embedded_models", lambda: {"people": tiny_checkpoint})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").mkdir()  # a folder of photos, say: it holds no checkpoint, so the name is meant
    assert resolve.resolve_model() == tiny_checkpoint
    assert resolve.resolve_model("people") == tiny_checkpoint
    assert resolve.is_embedded(tiny_checkpoint)
    assert not resolve.is_embedded(tmp_path)


def test_every_embedded_model_is_known_as_such():
    assert all(is_embedded(path) for path in embedded_models().values())


@pytest.mark.parametrize("word", ["", "nowhere", "./nowhere", "/no/where", "a/b/c", "a\0b", "own er/x"])
def test_words_that_mean_nothing(word):
    with pytest.raises(ModelError):
        resolve.resolve_model(word)


def test_a_file_is_no_model(tmp_path: Path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="is a file"):
        resolve.resolve_model(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", HubId("owner/name")),
        ("o/n@v1.0", HubId("o/n", "v1.0")),
        ("some-one/my_model.v2@" + "a" * 40, HubId("some-one/my_model.v2", "a" * 40)),
        ("owner", None),
        ("owner/name/more", None),
        ("../name", None),
        ("owner/..", None),
        ("owner/na..me", None),
        ("owner/name@../../x", None),
        ("owner/name@", None),
        ("owner/name@a@b", None),
        ("-owner/name", None),
        ("owner/name\n", None),
        ("https://x/y", None),
        ("o/" + "n" * 97, None),
    ],
)
def test_hub_ids(text, expected):
    assert parse_hub_id(text) == expected


def test_offline_is_one_sentence(monkeypatch, tmp_path: Path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        resolve.resolve_model("partswap-tests/not-there")


def test_a_full_disk_says_so():
    assert "disk is full" in sentence(HubId("a/b"), OSError(28, "No space left on device"))


def test_a_disk_that_is_too_full_is_known_before_the_download(monkeypatch, tmp_path: Path):
    from huggingface_hub import constants

    from partswap.checkpoint import hub

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "not" / "made" / "yet"))
    free = hub.shutil.disk_usage(tmp_path).free
    hub._refuse_full_disk(HubId("a/b"), 1 << 10)
    with pytest.raises(ModelError, match=r"is full.*HF_HOME"):
        hub._refuse_full_disk(HubId("a/b"), free + (1 << 40))


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (f"hub/models--some-one--my_model.v2/snapshots/{COMMIT}", HubId("some-one/my_model.v2", COMMIT)),
        (f"hub/datasets--o--n/snapshots/{COMMIT}", None),
        (f"hub/models--o--n/blobs/{COMMIT}", None),
        (f"hub/models--o--n--m/snapshots/{COMMIT}", None),
        (f"hub/models--gpt2/snapshots/{COMMIT}", None),
        ("hub/models--o--n/snapshots/main", None),
        ("people", None),
        ("", None),
    ],
)
def test_where_a_folder_came_from(folder, expected):
    assert origin(Path(folder)) == expected
