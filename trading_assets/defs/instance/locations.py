"""The names of code locations under which schedules and sensors were switched in Dagster's instance."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg


def names_with_switches() -> set[str] | None:
    """Names of the code locations of every schedule and sensor with a state; None where there is no instance here."""
    home = Path(os.environ.get("DAGSTER_HOME") or Path.cwd())
    if not (home / "dagster.yaml").is_file():
        return None
    with dg.DagsterInstance.from_config(str(home)) as instance:
        states = instance.all_instigator_state()
    return {state.origin.repository_origin.code_location_origin.location_name for state in states}
