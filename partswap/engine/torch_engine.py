"""The student in PyTorch, on the CPU, CUDA or Apple's MPS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from partswap.engine.batch import check_batch
from partswap.engine.device import pick_device
from partswap.engine.loading import load_student
from partswap.errors import DeviceError, PartswapError, UsageError

if TYPE_CHECKING:
    from partswap.checkpoint import Checkpoint

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
            if not 1 <= threads <= 1024:
                raise UsageError(f"--threads {threads} is not possible; give 1 to 1024")
            torch.set_num_threads(threads)
        self._device = pick_device(device)
        self.device = str(self._device)
        self._multiple = checkpoint.config.multiple
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
        check_batch(batch, self._multiple)
        try:
            with torch.inference_mode():
                # (B, h, w, 3) seen as (B, 3, h, w) is channels_last already, so nothing is copied here
                pixels = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2)
                logits = self._student((pixels.float() - self._mean) / self._std)
                return logits.float().softmax(1).contiguous().cpu().numpy()
        except torch.OutOfMemoryError as error:
            size = f"{batch.shape[2]}x{batch.shape[1]}"
            raise PartswapError(
                f"{self.device} has not enough memory for {len(batch)} pictures of {size} at once; "
                "use --device cpu, or free the card"
            ) from error
