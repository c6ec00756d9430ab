"""The one door to ONNX Runtime: which providers a device needs; why it cannot have them, with the mend."""

from __future__ import annotations

import contextlib
import io
from importlib import metadata
from typing import Any

from partswap.engine.cuda import driver, missing_libraries
from partswap.errors import DeviceError, PartswapError

__all__ = ["CPU", "PROVIDERS", "check_cards", "installed", "preload", "providers_for", "runtime", "why_not"]

CPU = "CPUExecutionProvider"
PROVIDERS = {"cpu": CPU, "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Kind of device -> the provider that has to be among a session's own for it to run there."""


def runtime() -> Any:
    """The `onnxruntime` module; PartswapError, with the mend, where it cannot be imported."""
    try:
        import onnxruntime
    except Exception as error:  # broken wheels raise whatever their libraries do
        raise PartswapError(
            f"ONNX Runtime cannot be imported ({short(error)}); run: pip install onnxruntime-gpu "
            "(on macOS: onnxruntime), or use --engine torch"
        ) from error
    onnxruntime.set_default_logger_severity(4)  # what it would say about providers is said by us
    return onnxruntime


def providers_for(kind: str, index: int) -> list[tuple[str, dict[str, Any]]]:
    """What to ask a session for, best first: the device's provider, and those that take what it cannot do."""
    cpu: tuple[str, dict[str, Any]] = (CPU, {})
    if kind == "cpu":
        return [cpu]
    # Photos come in many shapes, and cuDNN's exhaustive search would start anew for each. TF32 rounds
    # to 10 bits, which moves probabilities by 0.01: the card should give what the processor gives.
    options = {"device_id": index, "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": 0}
    cuda = (PROVIDERS["cuda"], options)
    if kind == "cuda":
        return [cuda, cpu]
    from partswap.engine.graphs import cache_folder

    cache = cache_folder() / "tensorrt"  # an engine takes minutes to build
    cache.mkdir(parents=True, exist_ok=True)
    engine = {"device_id": index, "trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache)}
    return [(PROVIDERS["tensorrt"], engine), cuda, cpu]


def check_cards(kind: str, index: int) -> None:
    """DeviceError, with the mend, where this ONNX Runtime or this machine surely has no such device."""
    if kind == "cpu":
        return
    if PROVIDERS[kind] not in runtime().get_available_providers():
        raise DeviceError(why_not(kind))
    found = driver()
    if found is None or not found.cards:
        raise DeviceError(why_not(kind))
    if index >= found.cards:
        have = "cuda:0" if found.cards == 1 else f"cuda:0 to cuda:{found.cards - 1}"
        raise DeviceError(f"device {kind}:{index} is not there: this machine has {have}")


def preload() -> None:
    """Let ONNX Runtime load CUDA and cuDNN from pip's nvidia packages, as torch brings them."""
    onnxruntime = runtime()
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints; stdout belongs to data
            onnxruntime.preload_dlls()


def why_not(kind: str) -> str:
    """Why ONNX Runtime does not run on `cuda` or `tensorrt` here, and the mend: one sentence."""
    onnxruntime = runtime()
    version = onnxruntime.__version__
    if installed("onnxruntime") and installed("onnxruntime-gpu"):
        return (
            f"device {kind} is not there: onnxruntime and onnxruntime-gpu are both installed and share "
            "files, so CUDA is missing; run: pip uninstall -y onnxruntime onnxruntime-gpu && "
            "pip install onnxruntime-gpu"
        )
    if PROVIDERS[kind] not in onnxruntime.get_available_providers():
        return (
            f"device {kind} is not there: this ONNX Runtime ({version}) is built without it; run: "
            "pip uninstall -y onnxruntime && pip install onnxruntime-gpu, or use --device cpu"
        )
    return f"device {kind} is not there: {_mismatch(kind)}, or use --device cpu"


def _mismatch(kind: str) -> str:
    """The CUDA that is wanted, what this machine has instead, and what to install."""
    onnxruntime, found = runtime(), driver()
    wanted = str(getattr(onnxruntime, "cuda_version", "") or "")
    major = int(wanted.split(".")[0]) if wanted.split(".")[0].isdigit() else None
    has, mends = [], []
    if found is None:
        has.append("no NVIDIA driver")
        mends.append("install the driver (nvidia-smi shows it)")
    elif not found.cards:
        has.append("a driver that finds no card")
        mends.append("see what nvidia-smi says")
    elif major is not None and major > int(found.cuda.split(".")[0]):
        has.append(f"a driver that runs CUDA up to {found.cuda}")
        mends.append("update the driver, or for CUDA 12 run: pip install 'onnxruntime-gpu<1.27'")
    preload()
    lacking = [] if major is None else missing_libraries(major, kind == "tensorrt")
    if lacking or not has:
        other = "" if major is None else _other_cuda(major)
        has.append(f"no {', '.join(lacking)}{other}" if lacking else "its libraries, but they do not start")
        extra = " tensorrt" if kind == "tensorrt" else ""
        mends.append(f"run: pip install 'onnxruntime-gpu[cuda,cudnn]'{extra}")
    return (
        f"ONNX Runtime {onnxruntime.__version__} wants CUDA {wanted or '(unknown)'} with cuDNN 9, and this "
        f"machine has {' and '.join(has)}; {'; '.join(mends)}"
    )


def _other_cuda(major: int) -> str:
    """`, found is CUDA 12 (...)` where another CUDA is installed by pip."""
    torch = _version("torch") or ""
    have = [f"torch {torch}"] if "+cu" in torch and f"+cu{major}" not in torch else []
    for other in (11, 12, 13):  # from 13 on the packages of the toolkit have no suffix
        package = f"nvidia-cuda-runtime-cu{other}"
        if other != major and installed(package):
            have.append(f"{package} {_version(package)}")
    return f" (found instead: {', '.join(have)})" if have else ""


def installed(package: str) -> bool:
    """Whether pip knows the package."""
    return _version(package) is not None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def short(error: Exception) -> str:
    """The error as part of a sentence."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
