"""What is raised for files that cannot be used."""

from __future__ import annotations


class FormatError(ValueError):
    """A file of a model is malformed, is not supported, or does not fit the others."""
