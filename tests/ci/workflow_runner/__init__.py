"""Runs this project's workflows on this machine, as GitHub's runners would.

It knows what the workflows use and nothing else: an expression, a key or an action that is new to
it is an error, never ignored. Jobs run one after the other in one clone, which is cleaned for each
of them; between them go only outputs and artifacts.
"""

from workflow_runner.actions import Place, UnknownError
from workflow_runner.run import JobRun, Runner, in_order, read

__all__ = ["JobRun", "Place", "Runner", "UnknownError", "in_order", "read"]
