"""`nox -s bench`: what a build and a model take.

Nothing is imported here: the workers of `core` run in environments without the factory's packages.
"""
