"""`python -m llamalab` is `llamalab`, where the command itself is not on the PATH."""

import sys

from llamalab.cli import main

sys.exit(main())
