"""Starts `partswap` many times without importing torch many times: imports everything once, then forks.

Reads jobs from stdin and answers on stdout, one JSON object a line; `sandbox.py` is the other end. A child
is a process like any other: it can hang, crash or be killed alone, and its CPU time is its own.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import tempfile
import time
import traceback
from importlib import import_module
from typing import Any, NoReturn

_MODULES = (
    "numpy PIL.Image cv2 scipy.ndimage torch timm onnx onnxruntime safetensors.torch huggingface_hub "
    "rich.progress "
    "partswap.cli.app partswap.cli.segment partswap.cli.transfer partswap.cli.parts partswap.cli.evaluate "
    "partswap.segmentation partswap.transfer partswap.naming partswap.benchmark.evaluate partswap.diagnosis "
    "partswap.engine.onnx_engine partswap.engine.torch_engine partswap.export.onnx partswap.training.refine"
)
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT = 24, 47
_READ_ANYTHING = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def as_anybody() -> None:
    """Root may read what has no permissions, which nobody else may: give that up, for this process and for
    those that it starts."""
    if os.geteuid() != 0 or sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    for capability in _READ_ANYTHING:
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        for which in (0, 1, 2):  # effective, permitted, inheritable
            data[which] &= ~(1 << capability)
    libc.capset(header, data)


def waited(pid: int, until: float) -> tuple[int | None, Any]:
    """Exit status (None: it took too long and was killed) and resources of a child."""
    late = False
    while True:
        found, status, usage = os.wait4(pid, 0 if late else os.WNOHANG)
        if found:
            return None if late else os.waitstatus_to_exitcode(status), usage
        if time.monotonic() > until:
            os.kill(pid, 9)
            late = True
        time.sleep(0.005)


def serve() -> None:
    """Fork a child for every job, wait for it, answer."""
    for module in _MODULES.split():
        import_module(module)
    gc.freeze()  # or every child would copy all pages that its first collection touches
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        job = json.loads(line)
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            answers.close()
            _become(job)
        code, usage = waited(pid, start + job["patience"])
        answer = {
            "code": code,
            "seconds": time.monotonic() - start,
            "cpu": usage.ru_utime + usage.ru_stime,
            "memory": usage.ru_maxrss // 1024,
        }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _become(job: dict[str, Any]) -> NoReturn:
    """Run the command; the end of the interpreter is left out, since taking torch apart takes seconds."""
    for target, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, job["stdout"], os.O_WRONLY | os.O_CREAT),
        (2, job["stderr"], os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, target)
        os.close(opened)
    sys.stdin = open(0)  # noqa: SIM115  (the old one has read ahead)
    os.chdir(job["folder"])
    os.environ["TMPDIR"], tempfile.tempdir = job["tmp"], None
    as_anybody()
    from partswap.cli.app import main

    code = 1
    try:
        main(job["words"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
