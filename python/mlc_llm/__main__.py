"""Runs the command line as ``python -m mlc_llm``."""

import sys

from mlc_llm.cli import main

sys.exit(main())
