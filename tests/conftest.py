"""What many tests need: a small checkpoint, drawn pictures, and the command line in this process."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

# Before torch is imported: workers share the cores, and nets as small as these lose more to waiting for each
# other's threads than they gain.
os.environ["OMP_NUM_THREADS"] = "1"


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it said."""

    code: int
    out: str
    err: str

    def lines(self) -> list[dict[str, Any]]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `partswap WORDS...` in this process: `cli("segment", photo, "--json").code`."""

    def run(*words: object) -> Outcome:
        from partswap.cli.app import main

        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else int(code is not None), said.out, said.err)

    return run


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, so that none reads or fills the user's; graphs in it are made once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a small, randomly initialised student and renderer, 6 parts: chest (1, 2), arm (3),
    the others without a name. Shared by all tests: copy it before changing it.
    """
    import torch

    from partswap.checkpoint import Config, write_checkpoint
    from partswap.nets.build import build_renderer, build_student
    from partswap.parts import Parts

    torch.manual_seed(0)
    student = {"backbone": "mobilenetv3_small_050", "parts": 6, "width": 16}
    renderer = {"parts": 6, "appearance": 8, "width": 16}
    config = Config("tiny", 6, student, renderer, size=(64, 48), input_long_side=96)
    nets = {"student": build_student(student), "renderer": build_renderer(renderer)}
    _spread(nets["student"], config)
    tensors = {f"{which}.{name}": t for which, net in nets.items() for name, t in net.state_dict().items()}
    folder = tmp_path_factory.mktemp("models") / "tiny"
    parts = Parts.default(6).renamed({1: "chest", 2: "chest", 3: "arm"})
    write_checkpoint(folder, config, parts, tensors, "# tiny: random weights, for tests only\n")
    return folder


@pytest.fixture
def hub() -> Iterator[Any]:
    """A hub on loopback: `checkpoint/hub_server.py`."""
    rules = _neighbour("checkpoint/card_rules.py")
    with _neighbour("checkpoint/hub_server.py").running_hub(rules.card_errors) as running:
        yield running


def _neighbour(path: str) -> ModuleType:
    """A module of the tests' own: they are imported by path, so they cannot import a neighbour."""
    file = Path(__file__).parent / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A drawn picture, 90 x 120 pixels: patches and gradients, so that a random net sees more than one
    part."""
    path = tmp_path / "photos" / "photo.png"
    path.parent.mkdir()
    drawn_picture(120, 90).save(path)
    return path


def _spread(student: Any, config: Any) -> None:
    """Make every part win somewhere: untouched random weights see one and the same part in every pixel."""
    import torch

    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (config.mean, config.std))
    pixels = torch.from_numpy(np.stack([np.asarray(drawn_picture(96, 64, seed)) for seed in range(4)]))
    batch = (pixels.permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        for _ in range(30):  # running statistics of batch normalisation
            student.train()(batch)
        logits = student.eval()(batch)
        student.head.weight.div_(logits.std((0, 2, 3))[:, None, None, None])
        student.head.bias.copy_((student.head.bias - logits.mean((0, 2, 3))) / logits.std((0, 2, 3)))


def drawn_picture(height: int, width: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (height // 15 + 1, width // 15 + 1, 3)).repeat(15, 0).repeat(15, 1)
    ramp = np.linspace(0, 60, width)[None, :, None]
    return Image.fromarray((patches[:height, :width] * 0.7 + ramp).astype(np.uint8))
