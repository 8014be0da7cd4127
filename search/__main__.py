"""`python -m search` is the command `rampart`."""

import sys

from search.cli import main

sys.exit(main())
