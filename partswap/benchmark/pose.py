"""MediaPipe Pose as a filter: file names on stdin, one JSON line of 33 [x, y, visibility] (or null) each.

Run by a Python of its own, because MediaPipe pins other versions than partswap needs:
`pip install mediapipe==0.10.21` (model complexity 1, whose weights are in the package).
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import mediapipe  # type: ignore[import-not-found]
    import numpy as np
    from PIL import Image

    with mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1) as pose:
        for line in sys.stdin.read().splitlines():
            found = pose.process(np.array(Image.open(line).convert("RGB"))).pose_landmarks
            points = found and [[p.x, p.y, p.visibility] for p in found.landmark]
            print(json.dumps(points or None), flush=True)


if __name__ == "__main__":
    main()
