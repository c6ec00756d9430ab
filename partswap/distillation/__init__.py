"""Stage 2: a dense segmenter learns the teacher's part maps at every zoom, crop, warp and colour."""
