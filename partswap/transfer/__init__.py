"""The look of chosen parts from one photo to another: silhouette, correspond, warp, fill, compose.

Names are imported on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from partswap.transfer.api import transfer
    from partswap.transfer.pair import Options, Pair, Transferred

__all__ = ["Options", "Pair", "Transferred", "transfer"]

_HOMES = {"transfer": "api", "Options": "pair", "Pair": "pair", "Transferred": "pair"}


class _Callable(ModuleType):
    """`partswap.transfer(...)` is the function and `partswap.transfer.Pair` the package: one name, both
    uses."""

    def __call__(self, *args: Any, **kwargs: Any) -> Transferred:
        from partswap.transfer.api import transfer

        return transfer(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"partswap.transfer.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
