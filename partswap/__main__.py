"""`python -m partswap`."""

from partswap.cli.app import main

main()
