"""What this installation has, and what is wrong with it, each with the mend."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from partswap.errors import ModelError, PartswapError

__all__ = ["Diagnosis", "diagnose"]

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "pillow",
    "opencv-python",
    "opencv-python-headless",
    "safetensors",
    "huggingface-hub",
    "typer",
    "rich",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorboard",
)


@dataclass
class Diagnosis:
    """versions: package -> version, None where it is not installed. devices: what torch can run on, first the
    default. providers: those that ONNX Runtime was built with. onnx: what it wants and what of CUDA there is.
    model: the model that was tried. problems: sentences, each with its
    mend; notes: things that only matter to some. exit_code: 0 usable, 1 not, 3 the model is what is broken.
    """

    versions: dict[str, str | None]
    system: dict[str, str]
    devices: list[str] = field(default_factory=list)
    providers: list[str] = field(default_factory=list)
    onnx: dict[str, str] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"usable": self.exit_code == 0, **asdict(self)}

    def broken(self, sentence: str, exit_code: int = 1) -> None:
        """Note something without which partswap does not work."""
        self.problems.append(sentence)
        self.exit_code = self.exit_code or exit_code


def diagnose(model: str | None = None, device: str = "auto") -> Diagnosis:
    """Look at everything that `segment` needs, and run `model` (None: the embedded one) once on an empty
    picture."""
    from partswap import __version__

    report = Diagnosis(
        versions={"partswap": __version__, **{name: _version(name) for name in _PACKAGES}},
        system={
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cores": str(os.cpu_count()),
            "executable": sys.executable,
        },
    )
    _look_at_torch(report)
    _look_at_opencv(report)
    _look_at_onnx(report)
    if not report.exit_code:
        _try_model(report, model, device)
    return report


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _look_at_torch(report: Diagnosis) -> None:
    try:
        import torch
    except Exception as error:  # a broken wheel raises OSError, RuntimeError, whatever its libraries do
        report.broken(f"torch cannot be imported ({_short(error)}); run: pip install --force-reinstall torch")
        return
    report.versions["torch"] = torch.__version__
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        report.devices.append(f"cuda:{index} ({torch.cuda.get_device_name(index)}, {memory:.0f} GiB)")
    if torch.backends.mps.is_available():
        report.devices.append("mps")
    report.devices.append(f"cpu ({torch.get_num_threads()} threads)")
    if torch.version.cuda and not torch.cuda.is_available():
        report.notes.append(
            f"torch is built for CUDA {torch.version.cuda}, but no driver or card answers, "
            "so it runs on the CPU; if there is a card, see what nvidia-smi says"
        )
    try:
        import timm  # noqa: F401
    except Exception as error:  # torchvision built for another torch raises RuntimeError here
        report.broken(
            f"timm cannot be imported ({_short(error)}); torchvision must be of the same release as torch, "
            "run: pip install --upgrade torch torchvision timm"
        )


def _look_at_opencv(report: Diagnosis) -> None:
    from partswap.imaging.opencv import opencv

    try:
        opencv()
    except PartswapError as error:
        report.broken(str(error))
    if report.versions["opencv-python"] and report.versions["opencv-python-headless"]:
        report.notes.append(
            "opencv-python and opencv-python-headless are both installed and share files; keep one: "
            "pip uninstall opencv-python-headless && pip install --force-reinstall opencv-python"
        )


def _look_at_onnx(report: Diagnosis) -> None:
    from partswap.engine.cuda import driver
    from partswap.engine.graphs import cache_folder
    from partswap.engine.runtime import PROVIDERS, runtime, why_not
    from partswap.engine.threads import net_threads

    if report.versions["onnxruntime"] and report.versions["onnxruntime-gpu"]:
        report.problems.append(
            "onnxruntime and onnxruntime-gpu are both installed and share files, so CUDA may be missing; "
            "run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        )
    found = driver()
    report.onnx = {
        "threads": str(net_threads()),
        "graph cache": str(cache_folder()),
        "nvidia driver": "none" if found is None else f"cards: {found.cards}, CUDA up to {found.cuda}",
    }
    try:
        onnxruntime = runtime()
    except PartswapError as error:
        report.problems.append(str(error))
        return
    report.providers = list(onnxruntime.get_available_providers())
    for kind in ("cuda", "tensorrt"):
        if PROVIDERS[kind] in report.providers:
            report.onnx[kind] = _provider_state(report, kind, found is not None and found.cards > 0, why_not)


def _provider_state(report: Diagnosis, kind: str, cards: bool, why_not: Callable[[str], str]) -> str:
    """What of a provider's own libraries there is; where there is a card, what is missing is a note."""
    from partswap.engine.cuda import missing_libraries
    from partswap.engine.runtime import preload, runtime

    wanted = str(getattr(runtime(), "cuda_version", "") or "unknown")
    major = wanted.split(".")[0]
    preload()
    lacking = missing_libraries(int(major), kind == "tensorrt") if major.isdigit() else []
    if cards and lacking and kind == "cuda":  # TensorRT is for those who ask for it
        report.notes.append(why_not(kind))
    return f"wants CUDA {wanted} and cuDNN 9; missing: {', '.join(lacking) or 'nothing'}"


def _try_model(report: Diagnosis, model: str | None, device: str) -> None:
    try:
        import numpy as np

        from partswap.engine.graphs import graphs_there
        from partswap.segmentation import load

        loaded = load(model, device)
        report.model = {"path": str(loaded.checkpoint.path), "parts": len(loaded.parts), **loaded.source}
        loaded.segment(np.zeros((64, 48, 3), np.uint8)).labels  # noqa: B018  (worked out when looked at)
        report.model["works"] = True
        if loaded.engine.name == "onnx":
            report.model["graph"] = str(graphs_there(loaded.checkpoint)[0])
    except ModelError as error:
        report.broken(str(error), ModelError.exit_code)
    except PartswapError as error:
        report.broken(str(error))


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
