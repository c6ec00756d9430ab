import importlib
import subprocess
import sys

import pytest

import partswap.imaging
from partswap.errors import PartswapError
from partswap.imaging.opencv import opencv


def test_every_public_name_is_there() -> None:
    for name in partswap.imaging.__all__:
        assert getattr(partswap.imaging, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = partswap.imaging.nonsense


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("partswap.imaging", "numpy PIL cv2"),
        ("partswap.imaging.frame", "cv2"),
        ("partswap.imaging.draw", "cv2 torch"),
    ],
)
def test_imports_stay_light(module: str, absent: str) -> None:
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in {absent.split()!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opencv_that_cannot_be_imported_names_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file")

    opencv.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", missing)
        with pytest.raises(PartswapError, match=r"libGL\.so\.1.*opencv-python-headless.*libgl1"):
            opencv()
    assert hasattr(opencv(), "resize")
