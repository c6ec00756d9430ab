"""`partswap models` on the models of this machine; the hub is in `tests/checkpoint`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from partswap.checkpoint import catalogue, resolve
from partswap.verification import drawn_person, verify, write_verification


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "mine"))


@pytest.fixture
def alone(folder: Path, monkeypatch) -> Path:
    """A machine whose only model is `folder`, embedded under the name mine."""
    for module in (resolve, catalogue):
        monkeypatch.setattr(module, "embedded_models", lambda: {"mine": folder})
    monkeypatch.setattr(catalogue, "_cached", lambda: iter(()))
    return folder


def signs(out: str) -> dict[str, str]:
    return {line.split()[1]: line.split()[0] for line in out.splitlines()}


def test_list(cli, alone: Path):
    outcome = cli("models", "list")
    assert outcome.code == 0
    head, line = outcome.out.splitlines()
    assert head.split()[:2] == ["MODEL", "SIZE"]
    assert line.split()[:2] == ["mine", "embedded"]
    assert "chest arm" in line
    (entry,) = json.loads(cli("models", "list", "--json").out)
    assert entry["parts"] == 6
    assert entry["license"] == "unknown"
    assert entry["size"] == sum(path.stat().st_size for path in alone.iterdir())


def test_a_model_that_cannot_be_read_is_listed_with_the_reason(cli, alone: Path):
    (alone / "parts.json").write_text("{}")
    outcome = cli("models", "list")
    assert outcome.code == 0
    assert "cannot be read" in outcome.out


def test_info(cli, folder: Path):
    outcome = cli("models", "info", folder)
    assert outcome.code == 0
    assert "6: chest (1 2), arm (3)" in outcome.out
    about = json.loads(cli("models", "info", folder, "--json").out)
    assert about["model"] == "tiny"
    assert "hub" not in about
    assert cli("models", "info", folder / "nowhere").code == 3


def test_verify_without_a_stored_digest_says_so(cli, folder: Path):
    outcome = cli("models", "verify", folder, "--engine", "torch")
    assert outcome.code == 0
    assert signs(outcome.out) == {
        "files": "ok",
        "hashes": "-",
        "values": "ok",
        "shapes": "ok",
        "picture": "-",
    }
    assert "nothing to compare with" in outcome.out


def test_verify_with_a_stored_digest(cli, folder: Path):
    assert cli("models", "verify", folder, "--write", "--engine", "torch").code == 0
    outcome = cli("models", "verify", folder, "--engine", "torch")
    assert outcome.code == 0, outcome.err
    assert set(signs(outcome.out).values()) == {"ok"}
    record = json.loads(cli("models", "verify", folder, "--engine", "torch", "--json").out)
    assert record["good"] is True


@pytest.mark.parametrize("engine", ["torch", "auto"])  # auto: the graph that comes with it
def test_the_digest_of_the_embedded_model_is_there_and_right(cli, engine):
    """After a change of the weights: partswap models verify people --write"""
    outcome = cli("models", "verify", "--engine", engine, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert set(signs(outcome.out).values()) == {"ok"}


def test_small_differences_are_let_pass_and_others_are_not(folder: Path, monkeypatch):
    """Another machine's rounding must pass; a model whose hashes are right but which computes otherwise (a
    broken driver) must not."""
    from partswap.engine.torch_engine import TorchEngine

    write_verification(folder)
    run = TorchEngine.run
    noise = np.random.default_rng(0)

    def shaken(scale: float):
        return lambda self, batch: (
            run(self, batch) + scale * noise.standard_normal((*batch.shape[:1], 7, 1, 1))
        )

    def picture() -> object:
        return next(check.good for check in verify(folder, "torch", "cpu") if check.name == "picture")

    monkeypatch.setattr(TorchEngine, "run", shaken(1e-3))
    assert picture() is True
    monkeypatch.setattr(TorchEngine, "run", shaken(0.3))
    assert picture() is False
    monkeypatch.setattr(TorchEngine, "run", lambda self, batch: run(self, batch) * np.nan)
    assert picture() is False


def change_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: t * 2 if t.ndim == 4 else t for name, t in tensors.items()}, folder / "model.safetensors"
    )


def change_config(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "mean": [0.1, 0.1, 0.1]}))


def not_finite(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    next(t for t in tensors.values() if t.ndim == 4).fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors")


def tensors_lost_and_found(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["student.head.more"] = tensors.pop("student.head.bias")
    save_file(tensors, folder / "model.safetensors")


def foreign(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "optimizer.x": tensors["student.head.bias"].clone()}, folder / "model.safetensors")


def pickle_beside(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"")


def digest_nonsense(folder: Path) -> None:
    data = json.loads((folder / "verification.json").read_text())
    (folder / "verification.json").write_text(json.dumps({**data, "runs": [1, 10**9]}))


@pytest.mark.parametrize(
    ("damage", "stored", "check", "words"),
    [
        (change_weights, True, "hashes", "weights changed"),
        (change_config, True, "hashes", "config changed"),
        (not_finite, False, "values", "NaN"),
        (tensors_lost_and_found, False, "shapes", "missing: head.bias; unknown: head.more"),
        (foreign, False, "values", "optimizer.x"),
        (pickle_beside, False, "files", "pytorch_model.bin"),
        (digest_nonsense, True, "picture", "damaged"),
    ],
)
def test_what_verify_finds(cli, folder: Path, damage, stored, check, words):
    if stored:
        write_verification(folder)
    damage(folder)
    outcome = cli("models", "verify", folder, "--engine", "torch")
    assert outcome.code == 3
    assert signs(outcome.out)[check] == "FAIL"
    assert words in outcome.err
    assert outcome.err.count("error: ") == 1


def test_the_drawing_never_changes():
    """Every stored label map depends on it: a change must come with another PICTURE number."""
    import hashlib

    digest = hashlib.sha256(drawn_person(320, 192).tobytes()).hexdigest()
    assert digest[:16] == "db1f2ca55c06ff1f"


REPORT = {
    "model": {
        "strict": {"overall": 0.68811},
        "paper": {"overall": 0.7},
        "one_to_one_strict": None,
        "foreground_iou": 0.929,
        "fg_nmi": 0.525,
        "fg_ari": None,
    },
    "named": {"strict": {"overall": 0.689}},
}


def test_scores_go_into_the_card(cli, folder: Path, tmp_path: Path):
    head = (
        "---\nlicense: mit\nlibrary_name: partswap\npipeline_tag: image-segmentation\ntags:\n- birds\n---\n"
    )
    (folder / "README.md").write_text(head + "\n# tiny\n\nWords, with `---` in them.\n")
    report = tmp_path / "report.json"
    report.write_text(json.dumps(REPORT))
    assert cli("models", "card", folder, "--scores", report).code == 2  # on what?
    outcome = cli("models", "card", folder, "--scores", report, "--dataset", "Birds (250 photos)", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert [each["value"] for each in found] == [0.688, 0.689, 0.929, 0.525]
    text = (folder / "README.md").read_text()
    assert text.endswith("\n# tiny\n\nWords, with `---` in them.\n")
    assert "- birds" in text
    before = text
    cli("models", "card", folder, "--scores", report, "--dataset", "Birds (250 photos)")
    assert (folder / "README.md").read_text() == before
    assert json.loads(cli("models", "info", folder, "--json").out)["scores"] == found
    report.write_text("[]")
    assert cli("models", "card", folder, "--scores", report, "--dataset", "x").code == 2


def test_a_card_that_is_not_in_order(cli, folder: Path):
    outcome = cli("models", "card", folder)
    assert outcome.code == 3
    assert "license is missing" in outcome.err
    (folder / "README.md").unlink()
    assert "has no README.md" in cli("models", "card", folder).err
