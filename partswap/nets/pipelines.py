"""What runs when a checkpoint runs: pixels in, part map or picture out, whatever the engine."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn, tensor

from partswap.nets.renderer import Renderer


class _Pixels(nn.Module):
    """The normalisation of a checkpoint, of pixels 0..255."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", tensor(std).view(1, 3, 1, 1) * 255)

    def normalised(self, image: Tensor) -> Tensor:
        """uint8 (B, h, w, 3) -> float32 (B, 3, h, w)."""
        return (image.permute(0, 3, 1, 2).float() - self.mean) / self.std


class Segment(_Pixels):
    """The student from pixels to probabilities.

    preprocessing: True for uint8 RGB (B, h, w, 3) in, False for normalised float32 (B, 3, h, w). Out, either
    way: part map float32 (B, K+1, h, w).
    """

    def __init__(
        self, student: nn.Module, mean: Sequence[float], std: Sequence[float], preprocessing: bool = True
    ) -> None:
        super().__init__(mean, std)
        self.student, self.preprocessing = student, preprocessing

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        logits = self.student(self.normalised(image) if self.preprocessing else image)
        # A softmax, spelled out: ONNX Runtime's own takes the channels of one pixel at a time and cost more
        # than all convolutions together (benchmarks/README.md).
        raised = (logits - logits.amax(1, keepdim=True)).exp()
        return raised / raised.sum(1, keepdim=True)


class Paint(_Pixels):
    """The renderer from a photo and two part maps to a picture; see `partswap.engine.base.Engine.render`.

    preprocessing: True for a photo uint8 RGB (B, h, w, 3) in and a picture float32 (B, H, W, 3), 0..1, out;
    False for both normalised, float32 (B, 3, h, w) and (B, 3, H, W).
    """

    def __init__(
        self, renderer: Renderer, mean: Sequence[float], std: Sequence[float], preprocessing: bool = True
    ) -> None:
        super().__init__(mean, std)
        self.renderer, self.preprocessing = renderer, preprocessing

    def forward(self, image: Tensor, source_map: Tensor, target_map: Tensor, look: Tensor) -> Tensor:
        """See the class; look: int64 (B, K), indices of parts."""
        codes = self.renderer.encode(self.normalised(image) if self.preprocessing else image, source_map)
        codes = codes.gather(1, look.unsqueeze(2).expand(-1, -1, codes.shape[2]))  # (B, K, A)
        shape = F.avg_pool2d(target_map, 2)  # the decoder doubles its input
        picture = self.renderer.decode(shape, codes)
        if not self.preprocessing:
            return picture
        return ((picture * self.std + self.mean) / 255).clamp(0, 1).permute(0, 2, 3, 1)
