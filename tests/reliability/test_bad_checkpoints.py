"""Every item of the corpus in this process; benchmarks/reliability.py runs it through every command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_checkpoints import MODEL_WORDS

from partswap.checkpoint import resolve_model
from partswap.errors import ModelError
from partswap.nets.encoder import MULTIPLE
from partswap.segmentation import load

Corpus = tuple[Path, list[Any]]
PICTURE = np.random.default_rng(0).integers(0, 256, (80, 64, 3), np.uint8)


def test_each_is_loaded_or_refused_in_little_time(bad_checkpoints: Corpus) -> None:
    folder, cases = bad_checkpoints
    assert len(cases) >= 200
    load("people", "cpu", "torch")  # imports are not timed
    wrong = []
    for case in cases:
        start = time.process_time()
        try:
            load(folder / case.name, "cpu", "torch").segment(PICTURE).labels.any()
            outcome = "fine"
        except ModelError as error:
            outcome = "refused" if "\n" not in str(error)[:-1] else f"lines: {error}"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"[:200]
        took = time.process_time() - start
        expected = {"either": ("fine", "refused")}.get(case.expected, (case.expected,))
        if outcome not in expected or took > 10:
            wrong.append((case.name, outcome, case.expected, round(took, 1)))
    assert not wrong


@pytest.mark.parametrize("word", MODEL_WORDS, ids=range(len(MODEL_WORDS)))
def test_words_that_are_no_model(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError):
        resolve_model(word)


@pytest.mark.parametrize("kind", ["endless", "external", "enormous", "bytes"])
def test_a_strangers_graph_is_never_run(cli: Any, bad_checkpoints: Corpus, tmp_path: Path, kind: str) -> None:
    from PIL import Image

    photo = tmp_path / "photo.png"
    Image.fromarray(PICTURE).save(photo)
    model = bad_checkpoints[0] / f"graph-{kind}"
    outcome = cli("segment", photo, "--out", tmp_path, "--model", model, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert "model.onnx" not in outcome.err
    assert (model / "model.onnx").exists()


def test_a_giant_encoder_is_refused_before_it_is_built(bad_checkpoints: Corpus) -> None:
    """On the meta device, that is: it took five minutes to draw 4 billion weights at random."""
    folder, cases = bad_checkpoints
    giant = next(case.name for case in cases if "4 billion" in case.about)
    start = time.process_time()
    with pytest.raises(ModelError, match="strides"):
        load(folder / giant, "cpu", "torch")
    assert time.process_time() - start < 10


def test_the_stride_in_config_is_the_nets() -> None:
    from partswap.checkpoint import config

    assert config._STRIDE == MULTIPLE


def test_a_model_that_breaks_a_transfer_is_the_models_fault(
    cli: Any, bad_checkpoints: Corpus, tmp_path: Path
) -> None:
    from PIL import Image

    photo = tmp_path / "photo.png"
    Image.fromarray(PICTURE).save(photo)
    model = bad_checkpoints[0] / "weights-extreme"
    outcome = cli(
        "transfer",
        photo,
        photo,
        "--parts",
        "1",
        "--out",
        tmp_path / "new.png",
        "--model",
        model,
        "--engine",
        "torch",
    )
    assert outcome.code == 3, outcome.err
    assert not (tmp_path / "new.png").exists()
