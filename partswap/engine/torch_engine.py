"""The nets in PyTorch, on the CPU, CUDA or Apple's MPS."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from partswap.engine.batch import check_batch, check_render
from partswap.engine.device import pick_device
from partswap.engine.loading import load_renderer, load_student
from partswap.engine.threads import net_threads
from partswap.errors import DeviceError, PartswapError

if TYPE_CHECKING:
    from partswap.checkpoint import Checkpoint
    from partswap.nets.pipelines import Paint

__all__ = ["TorchEngine"]


class TorchEngine:
    """See `partswap.engine.base.Engine`."""

    name = "torch"
    providers: tuple[str, ...] = ()

    def __init__(self, checkpoint: Checkpoint, device: str = "auto", threads: int | None = None) -> None:
        """threads: on the CPU, for all of this process; None leaves torch's own choice.

        Raises DeviceError, UsageError or ModelError; see `open_engine`.
        """
        if threads is not None:
            torch.set_num_threads(net_threads(threads))
        self._device = pick_device(device)
        self.device = str(self._device)
        self._checkpoint = checkpoint
        self.render_side = max(checkpoint.config.size)
        student = load_student(checkpoint)
        try:
            self._student = student.to(self._device).to(memory_format=torch.channels_last)
        except RuntimeError as error:
            raise DeviceError(
                f"the model does not run on {self.device}: {str(error).splitlines()[0]}"
            ) from error
        self._mean = torch.tensor(checkpoint.config.mean, device=self._device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(checkpoint.config.std, device=self._device).view(1, 3, 1, 1) * 255

    def run(self, batch: np.ndarray) -> np.ndarray:
        """uint8 (B, h, w, 3) -> part map float32 (B, K+1, h, w); raises ValueError for another shape or
        dtype."""
        check_batch(batch, self._checkpoint.config.multiple)
        try:
            with torch.inference_mode():
                # (B, h, w, 3) seen as (B, 3, h, w) is channels_last already, so nothing is copied here
                pixels = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2)
                logits = self._student((pixels.float() - self._mean) / self._std)
                return logits.float().softmax(1).contiguous().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise self._too_large(batch) from error

    def render(
        self, photo: np.ndarray, source_map: np.ndarray, target_map: np.ndarray, look: np.ndarray
    ) -> np.ndarray | None:
        """See `Engine.render`; raises ValueError for other shapes or dtypes."""
        if self._paint is None:
            return None
        check_render(photo, source_map, target_map, look, self._checkpoint.config.parts)
        try:
            with torch.inference_mode():
                inputs = (torch.from_numpy(each).to(self._device) for each in (photo, source_map, target_map))
                picture = self._paint(*inputs, torch.from_numpy(look).to(self._device))
                return picture.contiguous().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise self._too_large(photo) from error

    @cached_property
    def _paint(self) -> Paint | None:
        from partswap.nets.pipelines import Paint

        renderer = load_renderer(self._checkpoint)
        if renderer is None:
            return None
        return Paint(renderer, self._checkpoint.config.mean, self._checkpoint.config.std).to(self._device)

    def _too_large(self, batch: np.ndarray) -> PartswapError:
        size = f"{batch.shape[2]}x{batch.shape[1]}"
        return PartswapError(
            f"{self.device} has not enough memory for {len(batch)} pictures of {size} at once; "
            "use --device cpu, or free the card"
        )
