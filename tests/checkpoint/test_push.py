"""`partswap models push`, with the real client: what arrives, and what is refused before anything does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

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

    again = partswap("models", "push", folder, ID, "--engine", "torch", HF_TOKEN=TOKEN)
    assert again.out == done.out  # nothing changed, so there is no new commit
    (folder / "README.md").write_text(CARD + "More words.\n")
    updated = partswap("models", "push", folder, ID, "--engine", "torch", "--json", HF_TOKEN=TOKEN)
    assert updated.code == 0, updated.err
    second = json.loads(updated.out)["commit"]
    assert second == repo.refs["main"] != first
    assert repo.commits[second]["README.md"].endswith(b"More words.\n")
    assert partswap("models", "pull", ID).out == f"{ID}@{second}\n"


def test_private(hub, folder, partswap):
    words = ("models", "push", folder, ID, "--private", "--engine", "torch")
    assert partswap(*words, HF_TOKEN=TOKEN).code == 0
    assert hub.repos[ID].private
    hub.repos[ID].private = False
    partswap(*words, HF_TOKEN=TOKEN).refused("public", "leave --private out")


def test_the_token(hub, folder, partswap):
    words = ("models", "push", folder, ID, "--engine", "torch")
    partswap(*words).refused("without a token that may write", "HF_TOKEN", "hf auth login")
    partswap(*words, HF_TOKEN="hf_old").refused("does not accept the token")
    partswap(*words, HF_TOKEN="hf_read").refused("lacks the right")
    assert ID not in hub.repos


def test_what_is_not_in_order_is_not_pushed(hub, folder, partswap):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.startswith("student.") and tensors[name].ndim == 4)
    save_file({**tensors, name: tensors[name][:1].clone()}, folder / "model.safetensors")
    done = partswap("models", "push", folder, ID, HF_TOKEN=TOKEN)
    done.refused("is not in order", "of a wrong shape", name.removeprefix("student."))
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
def test_a_card_that_the_hub_would_refuse(hub, folder, partswap, card, words):
    (folder / "README.md").write_text(card)
    done = partswap("models", "push", folder, ID, "--engine", "torch", HF_TOKEN=TOKEN)
    done.refused("card", words)
    assert ID not in hub.repos or "config.json" not in hub.repos[ID].commits[hub.repos[ID].refs["main"]]


def test_places_that_are_refused(hub, folder, partswap, tmp_path):
    hub.repo(ID, {"pytorch_model.bin": b"cos\nsystem\n"})
    words = ("--engine", "torch")
    partswap("models", "push", folder, ID, *words, HF_TOKEN=TOKEN).refused(
        "pytorch_model.bin", "push elsewhere"
    )
    for usage in ((folder, f"{ID}@main"), (folder, "tiny"), (tmp_path / "nowhere", ID)):
        done = partswap("models", "push", *usage, *words, HF_TOKEN=TOKEN)
        assert done.code == 2, done.err
    partswap("models", "push", folder, ID, *words, HF_TOKEN=TOKEN, HF_HUB_OFFLINE="1").refused(
        "HF_HUB_OFFLINE"
    )
    nowhere = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:9"}
    partswap("models", "push", folder, ID, *words, **nowhere).refused("cannot be reached")
