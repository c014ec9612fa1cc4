"""The command `autobatch`, and `python -m autobatch`."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C while its libraries are imported ends it as later, without a traceback."""
    try:
        from autobatch.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
