"""What the factory's sessions share: an error is a paragraph and a record, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from ci.errors import USAGE, FactoryError, UsageError
from ci.github import run_address, show_error
from ci.record import QUIET, keep_record


def run_session(main: Callable[[list[str]], int]) -> None:
    """Run `main` with the command line and exit with its status; 1 on an error, 130 on Ctrl-C.

    A polite request to end (SIGTERM, as from a cancelled job) cleans up like Ctrl-C. Any other
    failure leaves a record, from which `nox -s reproduce` runs the session again.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = main(sys.argv[1:])
        if status not in {0, USAGE}:
            record(FactoryError("", exit_status=status))
    except (FactoryError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        known = error if isinstance(error, FactoryError) else FactoryError(str(error))
        status = known.exit_status
        if not isinstance(known, UsageError):
            record(known)
    except KeyboardInterrupt:
        print("\ninterrupted: nothing half-made was left as finished.", file=sys.stderr)
        status = 130
    except Exception as error:
        record(FactoryError(f"{type(error).__name__}: {error}"))
        raise
    sys.exit(status)


def record(error: FactoryError) -> None:
    """Keep the record of a failure, and say how to run it again, unless this is doing so."""
    path = keep_record(error, sys.argv[1:])
    if path and QUIET not in os.environ:
        what = run_address() or os.path.relpath(path)
        message = f"To see it fail again, on any machine: nox -s reproduce -- {what}"
        print(message, file=sys.stderr)
        show_error(message)
