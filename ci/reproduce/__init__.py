"""`nox -s reproduce`: a failed session, run again from its record and compared with it."""
