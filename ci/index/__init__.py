"""A static package index over all releases, with a page for people on top."""
