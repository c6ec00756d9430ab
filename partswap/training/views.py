"""Views of a photo, made on the device: warps (affine and free-form), colour, light.

Every function takes a ``torch.Generator`` on the device of its tensors; nothing here draws from the global
random state, so that a step's randomness depends on the seed and the step alone (see :func:`step_generator`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Pixels and coordinates are computed in float32, also where the networks run in bfloat16."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs)

    return wrapped


def step_generator(seed: int, stage: int, step: int, device: torch.device) -> torch.Generator:
    """A generator that belongs to one step: a resumed run draws what an uninterrupted one would have
    drawn."""
    mixed = (seed * 1_000_003 + stage) * 10_000_019 + step
    return torch.Generator(device=device).manual_seed(mixed % (2**63 - 1))


def uniform(shape: tuple[int, ...], low: float, high: float, g: torch.Generator) -> Tensor:
    """Uniform float32 in [low, high) on the generator's device."""
    return torch.rand(shape, generator=g, device=g.device) * (high - low) + low


@dataclass(frozen=True)
class WarpRange:
    """How far a random warp may go.

    Attributes:
        zoom: smallest and largest magnification (log-uniform).
        rotate: largest rotation, degrees.
        shift: largest shift, as a share of half the frame.
        bend: largest free-form displacement, as a share of half the frame (of what an enlarged view shows of
            it).
        stretch: largest log ratio between horizontal and vertical scale.
        flip: probability of mirroring.
    """

    zoom: tuple[float, float] = (1.0, 1.0)
    rotate: float = 0.0
    shift: float = 0.0
    bend: float = 0.0
    stretch: float = 0.0
    flip: float = 0.0


def random_grid(
    n: int,
    size: tuple[int, int],
    span: WarpRange,
    g: torch.Generator,
    source: tuple[int, int] | None = None,
    extent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sampling grids of random warps about the frame's centre.

    Args:
        n: batch size.
        size: (H, W) of the view.
        source: (h, w) of what is looked at, if it is not of the view's size. At zoom 1 all of it fits into
            the view; angles and proportions are kept.
        extent: (n, 2), rows and columns about the middle of what is looked at that have to fit into the view
            at zoom 1, instead of all.

    Returns:
        grid: float32 (n, H, W, 2), where in the source (x, y in [-1, 1], ``align_corners=False``) each pixel
            of the view looks.
        step: float32 (n,), source pixels per pixel of the view.
    """
    out_h, out_w = size
    in_h, in_w = source or size
    low, high = (math.log(z) for z in span.zoom)
    zoom = uniform((n,), low, high, g).exp()
    stretch = (uniform((n,), -0.5, 0.5, g) * span.stretch).exp()
    angle = uniform((n,), -1, 1, g) * math.radians(span.rotate)
    mirror = 1.0 - 2.0 * (torch.rand(n, generator=g, device=g.device) < span.flip).float()
    whole = max(in_h / out_h, in_w / out_w)
    fit = torch.full_like(zoom, whole)
    if extent is not None:
        fit = torch.maximum(extent[:, 0] / out_h, extent[:, 1] / out_w)
    step = fit / zoom
    cos, sin = angle.cos(), angle.sin()
    theta = torch.zeros(n, 2, 3, device=g.device)
    theta[:, 0, 0] = mirror * cos * step / stretch * (out_w / in_w)
    theta[:, 0, 1] = -mirror * sin * step / stretch * (out_h / in_w)
    theta[:, 1, 0] = sin * step * stretch * (out_w / in_h)
    theta[:, 1, 1] = cos * step * stretch * (out_h / in_h)
    theta[:, :, 2] = uniform((n, 2), -span.shift, span.shift, g) * zoom.reciprocal().clamp(min=1.0).view(
        -1, 1
    )
    grid = F.affine_grid(theta, [n, 1, out_h, out_w], align_corners=False)
    if span.bend > 0:
        # Cubic interpolation of a coarse lattice: a smooth free-form deformation, cheaper than a thin-plate
        # spline and alike.
        lattice = uniform((n, 2, 5, 4), -span.bend, span.bend, g)
        shown = (fit / whole).clamp(max=1.0) / zoom.clamp(min=1.0)
        lattice = lattice * shown.view(-1, 1, 1, 1)
        grid = grid + F.interpolate(lattice, size=size, mode="bicubic", align_corners=True).permute(
            0, 2, 3, 1
        )
    return grid, step


def sample(x: Tensor, grid: Tensor, padding: str = "border") -> Tensor:
    """Bilinear lookup: (B, C, h, w) at grid (B, H, W, 2) -> (B, C, H, W). ``padding``: "border" or
    "zeros"."""
    return F.grid_sample(x, grid.to(x.dtype), mode="bilinear", padding_mode=padding, align_corners=False)


def sample_antialiased(x: Tensor, grid: Tensor, step: Tensor, padding: str = "border") -> Tensor:
    """As :func:`sample`, but from a half or quarter size copy where the view shrinks the input.

    Args:
        step: float32 (B,), input pixels per output pixel.
    """
    out = sample(x, grid, padding)
    level = x
    for factor in (1.7, 3.4):
        level = F.avg_pool2d(level, 2, ceil_mode=True)
        out = torch.where((step >= factor).view(-1, 1, 1, 1), sample(level, grid, padding), out)
    return out


def grid_at(x: Tensor, y: Tensor, size: tuple[int, int]) -> Tensor:
    """Sampling grid (n, H, W, 2) from columns x (n, W) and rows y (n, H), pixels of a picture of ``size``."""
    n, height, width = len(x), y.shape[1], x.shape[1]
    gx = (2 * x / size[1] - 1).view(n, 1, width).expand(n, height, width)
    gy = (2 * y / size[0] - 1).view(n, height, 1).expand(n, height, width)
    return torch.stack([gx, gy], -1)


def resize_grid(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """The same warp at another resolution: (B, H, W, 2) -> (B, h, w, 2)."""
    small = F.interpolate(grid.permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=False)
    return small.permute(0, 2, 3, 1)


def inside(grid: Tensor) -> Tensor:
    """1.0 where a grid looks inside the frame, else 0.0: (B, H, W, 2) -> (B, 1, H, W)."""
    return (grid.abs().amax(-1) <= 1.0).float().unsqueeze(1)


@functools.cache
def _chroma_planes(device: torch.device) -> tuple[Tensor, Tensor]:
    """RGB to YIQ and back, (3, 3) each; made once, because copying and inverting wait for the device."""
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    return to_yiq.to(device), torch.linalg.inv(to_yiq).to(device)


def _hue_matrix(angle: Tensor, saturation: Tensor) -> Tensor:
    """Rotation by ``angle`` and scaling by ``saturation`` of the chroma plane, as RGB matrices (B, 3, 3).

    The plane is that of YIQ (FCC NTSC 1953); luma is left alone.
    """
    to_yiq, to_rgb = _chroma_planes(angle.device)
    turn = torch.zeros(len(angle), 3, 3, device=angle.device)
    turn[:, 0, 0] = 1.0
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos() * saturation
    turn[:, 1, 2] = -angle.sin() * saturation
    turn[:, 2, 1] = angle.sin() * saturation
    return to_rgb @ turn @ to_yiq


def jitter_colour(x: Tensor, g: torch.Generator, strength: float = 1.0) -> Tensor:
    """Random colour, contrast, brightness, gamma, grey, light falling unevenly, and grain.

    Args:
        x: float (B, 3, H, W) in [0, 1].
        strength: 0 leaves the photo alone, 1 is strong.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    n, _, h, w = x.shape
    hue = uniform((n,), -1, 1, g) * math.pi * 0.5 * strength
    saturation = (uniform((n,), -1.2, 0.6, g) * strength).exp()
    grey = torch.rand(n, generator=g, device=x.device) < 0.1 * strength
    saturation = torch.where(grey, torch.zeros_like(saturation), saturation)
    contrast = (uniform((n, 1, 1, 1), -0.4, 0.4, g) * strength).exp()
    brightness = (uniform((n, 1, 1, 1), -0.4, 0.4, g) * strength).exp()
    tint = (uniform((n, 3, 1, 1), -0.2, 0.2, g) * strength).exp()
    y = torch.einsum("bij,bjhw->bihw", _hue_matrix(hue, saturation), x)
    mean = y.mean((1, 2, 3), keepdim=True)
    y = ((y - mean) * contrast + mean) * brightness * tint
    light = uniform((n, 1, 3, 3), -0.4, 0.4, g) * strength
    y = y * F.interpolate(light, size=(h, w), mode="bicubic", align_corners=True).exp()
    gamma = (uniform((n, 1, 1, 1), -0.35, 0.35, g) * strength).exp()
    y = y.clamp(1e-3, 1.0).pow(gamma)
    grain = uniform((n, 1, 1, 1), 0.0, 0.04, g) * strength
    return (y + grain * torch.randn(x.shape, generator=g, device=x.device)).clamp(0.0, 1.0)


BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def blur_some(x: Tensor, g: torch.Generator, probability: float = 0.3) -> Tensor:
    """Soften some of the photos by a 5x5 binomial of random mixture: (B, 3, H, W) -> the same."""
    # The rows, then the columns: a plain convolution of three channels is eight times slower on a CPU.
    soft = F.pad(x, (2, 2, 2, 2), mode="replicate")
    for dim in (2, 3):
        length, wide = x.shape[dim], soft
        soft = torch.zeros((), device=x.device)
        for i, tap in enumerate(BINOMIAL):
            soft = soft.add(wide.narrow(dim, i, length), alpha=tap)
    amount = uniform((len(x), 1, 1, 1), 0.3, 1.0, g)
    on = (torch.rand(len(x), 1, 1, 1, generator=g, device=x.device) < probability).float()
    return torch.lerp(x, soft, amount * on)
