"""A cold start: `python -m autobatch.probe FOLDER`."""

import sys

from autobatch.probe.child import main

sys.exit(main(sys.argv[1]))
