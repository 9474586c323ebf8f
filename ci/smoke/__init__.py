"""Smoke tests of a final wheel in clean environments, on its own kind of machine or one like it."""

PREFIX = "smoke: "  # an outcome in an engine's output: this, then a check as JSON
