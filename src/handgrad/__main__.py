"""`python -m handgrad`: the command `handgrad`."""

from handgrad.cli import main

main()
