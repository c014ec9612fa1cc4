"""`python -m autobatch`."""

from autobatch.cli import main

main()
