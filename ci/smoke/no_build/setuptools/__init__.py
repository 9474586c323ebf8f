"""Stands in for setuptools where an sdist is to be downloaded and nothing of it is to be run."""
