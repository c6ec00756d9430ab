"""What both stages of training share: photos, views, loop, resume, log."""
