"""`python -m adamkit`: the same as the command `adamkit`."""

from adamkit.cli import main

main()
