"""`python -m archc` is the command `archc`."""

import sys

from archc.cli import main

sys.exit(main())
