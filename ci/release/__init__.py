"""From a wheelhouse at a tag to one complete release: a directory, or a GitHub Release."""
