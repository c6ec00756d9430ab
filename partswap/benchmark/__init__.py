"""Tables and baselines built from `partswap.metrics`; `part_iou.score_label_maps` is the short way in."""
