"""`partswap models push`, with the real client: what arrives, and what is refused before anything does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

ID = "owner/tiny"
TOKEN = "hf_write"
CARD = """---
license: mit
library_name: partswap
pipeline_tag: image-segmentation
tags: [part-discovery]
---

# tiny
"""


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint with a card, and with a file that is not to be shared."""
    path = Path(shutil.copytree(tiny_checkpoint, tmp_path / "mine"))
    (path / "README.md").write_text(CARD)
    (path / "model.onnx").write_bytes(b"a graph")
    return path


@pytest.fixture
def push(hub, cli, done_type, monkeypatch) -> Callable[..., Any]:
    """`partswap models push WORDS...` in this process, so that torch is not imported for every one; the
    client's settings are put where it would have read them from the environment."""
    from huggingface_hub import constants, utils

    # The client keeps connections open; one to a server of an earlier test may only look alive.
    for name in ("close_session", "reset_sessions"):  # in 1.0; before
        if hasattr(utils, name):
            getattr(utils, name)()

    def run(*words: object, token: str | None = TOKEN, endpoint: str = hub.url, offline: bool = False) -> Any:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)  # new in 0.30
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "no such file")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        if token is not None:
            monkeypatch.setenv("HF_TOKEN", token)
        before = len(hub.requests)
        outcome = cli("models", "push", *words, "--engine", "torch", "--device", "cpu")
        return done_type(outcome.code, outcome.out, outcome.err, hub.requests[before:])

    return run


def test_push_creates_then_updates(hub, folder, partswap):
    done = partswap("models", "push", folder, ID, "--engine", "torch", HF_TOKEN=TOKEN)
    assert done.code == 0, done.err
    repo = hub.repos[ID]
    first = repo.refs["main"]
    assert done.out == f"{ID}@{first}\n"
    assert not repo.private
    names = {"config.json", "parts.json", "model.safetensors", "README.md"}
    assert set(repo.commits[first]) == {*names, ".gitattributes"}
    for name in names:
        assert repo.commits[first][name] == (folder / name).read_bytes()

    assert partswap("models", "pull", ID).out == done.out


def test_push_updates(hub, folder, push):
    first = push(folder, ID)
    again = push(folder, ID)
    assert again.out == first.out  # nothing changed, so there is no new commit
    (folder / "README.md").write_text(CARD + "More words.\n")
    updated = push(folder, ID, "--json")
    assert updated.code == 0, updated.err
    second, repo = json.loads(updated.out)["commit"], hub.repos[ID]
    assert second == repo.refs["main"]
    assert second not in first.out
    assert repo.commits[second]["README.md"].endswith(b"More words.\n")


def test_private(hub, folder, push):
    assert push(folder, ID, "--private").code == 0
    assert hub.repos[ID].private
    hub.repos[ID].private = False
    push(folder, ID, "--private").refused("public", "leave --private out")


def test_the_token(hub, folder, push):
    push(folder, ID, token=None).refused("without a token that may write", "HF_TOKEN", "hf auth login")
    push(folder, ID, token="hf_old").refused("does not accept the token")
    push(folder, ID, token="hf_read").refused("lacks the right")
    assert ID not in hub.repos


def test_what_is_not_in_order_is_not_pushed(hub, folder, push):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.startswith("student.") and tensors[name].ndim == 4)
    save_file({**tensors, name: tensors[name][:1].clone()}, folder / "model.safetensors")
    push(folder, ID).refused("is not in order", "of another kind", name.removeprefix("student."))
    assert not hub.requests


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("# no head\n", "license is missing"),
        (CARD.replace("license: mit\n", ""), "license is missing"),
        (CARD.replace("image-segmentation", "other"), "pipeline_tag"),
        (CARD.replace("tags: [part-discovery]", "tags: [1"), "cannot be read"),
        (CARD.replace("license: mit", "license: mit\nmodel-index: nonsense"), "cannot be read"),
        (
            CARD.replace("license: mit", "license: my-own"),
            "must be one of the known licences",
        ),  # says the hub
    ],
)
def test_a_card_that_the_hub_would_refuse(hub, folder, push, card, words):
    (folder / "README.md").write_text(card)
    push(folder, ID).refused("card", words)
    assert ID not in hub.repos or "config.json" not in hub.repos[ID].commits[hub.repos[ID].refs["main"]]


def test_places_that_are_refused(hub, folder, push, tmp_path):
    hub.repo(ID, {"pytorch_model.bin": b"cos\nsystem\n"})
    push(folder, ID).refused("pytorch_model.bin", "push elsewhere")
    for usage in ((folder, f"{ID}@main"), (folder, "tiny"), (tmp_path / "nowhere", ID)):
        done = push(*usage)
        assert done.code == 2, done.err
    push(folder, ID, offline=True).refused("HF_HUB_OFFLINE")
    push(folder, ID, endpoint="http://127.0.0.1:9").refused("cannot be reached")
