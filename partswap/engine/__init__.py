"""Running a checkpoint: `open_engine` gives something with a `run` that turns pictures into part maps."""

from partswap.engine.base import ENGINES, Engine, open_engine

__all__ = ["ENGINES", "Engine", "open_engine"]
