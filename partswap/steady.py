"""Part maps that hold still over the frames of a clip.

A net that sees each frame alone flickers where two parts are about equally likely. Here each part map is
averaged with those before it, which are first carried along by the picture's own motion (dense inverse search
optical flow, Kroeger et al. 2016, at the net's resolution). Where the carried picture does not look like the
new one (something came into sight, or the scene was cut) the past counts for nothing.
"""

from __future__ import annotations

import numpy as np

from partswap.imaging.opencv import opencv

__all__ = ["Steady", "small_grey"]

_MEMORY = 0.75  # share of the past where the motion explains the picture: about 4 frames are averaged
_UNLIKE = 25.0  # grey levels of difference (after a blur) at which the past counts for a third of that
_SMALLEST = 16  # pixels a side: optical flow has no pyramid below
_CUT = 28.0  # mean grey levels that motion leaves unexplained from which a scene is taken for another


class Steady:
    """Averages the part maps of one clip, frame by frame."""

    def __init__(self) -> None:
        self._grey = np.empty((0, 0), np.uint8)
        self._map = np.empty((0, 0, 0), np.float32)
        self._flow = opencv().DISOpticalFlow_create(opencv().DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def __call__(self, grey: np.ndarray, part_map: np.ndarray) -> np.ndarray:
        """The next frame.

        Args:
            grey: uint8 (h, w), the frame as `small_grey` makes it.
            part_map: float32 (K+1, h', w') of probabilities, h' >= h and w' >= w: the net's padding is kept
                as it is.

        Returns:
            The averaged part map, a new array of the same shape; still probabilities.
        """
        out = np.array(part_map, np.float32)
        height, width = grey.shape
        goes_on = self._map.shape == out.shape and self._grey.shape == grey.shape
        if goes_on and min(grey.shape) >= _SMALLEST:
            self._blend(grey, out[:, :height, :width], self._map[:, :height, :width])
        self._grey, self._map = grey, out
        return out

    def _blend(self, grey: np.ndarray, now: np.ndarray, before: np.ndarray) -> None:
        """Average the past into `now`, in place."""
        cv2 = opencv()
        height, width = grey.shape
        at = self._flow.calc(grey, self._grey, None)
        at[..., 0] += np.arange(width, dtype=np.float32)
        at[..., 1] += np.arange(height, dtype=np.float32)[:, None]
        carried = cv2.remap(self._grey, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        unlike = cv2.absdiff(carried, grey)
        if cv2.mean(unlike)[0] > _CUT:
            return
        past = _MEMORY * np.exp(-((cv2.blur(unlike.astype(np.float32), (5, 5)) / _UNLIKE) ** 2))
        # what comes in over the edge has no past
        past[(at[..., 0] < -1) | (at[..., 0] > width) | (at[..., 1] < -1) | (at[..., 1] > height)] = 0
        for channel, earlier in zip(now, before, strict=True):
            moved = cv2.remap(
                np.ascontiguousarray(earlier), at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            channel += past * (moved - channel)


def small_grey(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame uint8 (H, W, 3) in grey at (h, w), which the part map's content has."""
    cv2 = opencv()
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA).reshape(size)
