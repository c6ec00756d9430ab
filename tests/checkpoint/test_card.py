"""Model cards: what is written passes the client's own validation, against the rules of the hub."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from partswap.checkpoint import Config, embedded_models
from partswap.checkpoint.card import Score, build_card, card_license, card_scores, check_card, read_card
from partswap.errors import ModelError
from partswap.training.card import write_card

STUDENT = {"backbone": "tf_efficientnet_lite0", "parts": 6, "width": 16}


def validated(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`ModelCard.validate` of the real client, which asks the hub."""
    script = "import sys; from huggingface_hub import ModelCard; ModelCard.load(sys.argv[1]).validate()"
    command = [sys.executable, "-c", script, str(folder / "README.md")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def fresh(folder: Path) -> Path:
    """A card as `partswap train` writes it."""
    config = Config("birds", 6, STUDENT, training={"photos": 12, "seed": 0, "pretrained": "none"})
    (folder / "README.md").write_text(write_card(config, [Score("mirror_agreement", "mirroring", 0.5)]))
    return folder


@pytest.mark.parametrize("name", ["of train", *embedded_models()])
def test_cards_pass(hub, environment, tmp_path, name):
    folder = fresh(tmp_path) if name == "of train" else embedded_models()[name]
    assert check_card(folder) == []
    data = read_card(folder).data
    assert data["library_name"] == "partswap"
    assert data["pipeline_tag"] == "image-segmentation"
    assert data["license"]
    assert data["tags"]
    assert all(0 <= score["value"] <= 1 for score in card_scores(read_card(folder)))
    assert card_scores(read_card(folder))
    done = validated(folder, environment)
    assert done.returncode == 0, done.stderr
    assert [r.path for r in hub.requests if "validate" in r.path] == ["/api/validate-yaml"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("license: unknown", "license: nobodys"),
        ("pipeline_tag: image-segmentation", "pipeline_tag: cutting"),
        ("- unsupervised", "- 3"),
        ("      type: image-segmentation\n", "      name: x\n"),
    ],
)
def test_the_rules_of_the_server_are_rules(hub, environment, tmp_path, old, new):
    """A validation that accepts everything would prove nothing."""
    path = fresh(tmp_path) / "README.md"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    assert validated(tmp_path, environment).returncode != 0


def test_a_card_without_scores_has_no_index(tmp_path):
    (tmp_path / "README.md").write_text(build_card("x", "# x\n\ntext", license="mit"))
    assert "model-index" not in (tmp_path / "README.md").read_text()
    assert card_scores(read_card(tmp_path)) == []
    assert card_license(tmp_path) == "mit"


@pytest.mark.parametrize(
    "text",
    ["---\n[1, 2]\n---\n", "---\na: [\n---\n", b"\xff\xfe\0", b"x" * (2 << 20), "---\n- &a [*a]\n---\n"],
)
def test_cards_that_cannot_be_read(tmp_path, text):
    (tmp_path / "README.md").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelError, match="cannot be read"):
        read_card(tmp_path)
    assert card_license(tmp_path) == "unknown"
