"""Scores as pure functions of numpy arrays: `iou`, `clustering`, `keypoints`. Imports nothing of ours."""
