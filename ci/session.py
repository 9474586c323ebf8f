"""What the factory's smaller sessions share: an error shown as a paragraph, never a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

from ci.errors import FactoryError


def run_session(main: Callable[[list[str]], int]) -> None:
    """Run `main` with the command line and exit with its status; 1 on an error, 130 on Ctrl-C.

    A polite request to end (SIGTERM, as from a cancelled job) cleans up like Ctrl-C.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = main(sys.argv[1:])
    except (FactoryError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("\ninterrupted: nothing half-made was left as finished.", file=sys.stderr)
        status = 130
    sys.exit(status)
