"""The command line: one file per command; `app` finds them."""
