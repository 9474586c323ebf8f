"""A release as a GitHub Release: draft, upload, compare, publish."""
