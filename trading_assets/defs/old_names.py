"""Warns of a `dagster.yaml` that names a module or class by its old place."""

import warnings


def warn(old: str, new: str) -> None:
    """Say what to write instead. Dagster imports what `dagster.yaml` names, so each process says it once."""
    warnings.warn(
        f"dagster.yaml names {old}, which is {new} now: change its lines `module` and `class`", FutureWarning, 2
    )
