"""`chaos orders` in its small form, as a user runs it: traders are killed, and nothing is doubled, lost or bare."""

import json
import subprocess
import sys

import pytest

from trading_assets.chaos.points import KINDS, POINTS
from trading_assets.trading.dca.steps import DcaStep
from trading_assets.trading.grid.steps import GridStep
from trading_assets.trading.saga.transitions import Step

REQUIRED = [
    *("intents", "kills", "faults", "orders", "duplicates", "orphans", "unprotected_positions"),
    *("unprotected_seconds_max", "mismatches", "foreign_touched", "wrong_levels", "misattributed", "silent_minutes"),
    *("wrong_sums", "two_traded", "second_traders", "by_hand", "left_waiting", "exit_decisions", "points_missed"),
    *("grid_duplicates", "grid_inventory", "grid_profit", "grid_restless", "beyond_bounds", "self_trades"),
    *("dca_duplicates", "dca_schedule", "dca_inventory", "dca_profit", "dca_restless", "dca_times"),
]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("profile", "kills", "steps", "faults"), [("tame", 60, 16, 1), ("wild", 20, 6, 1)])
def test_killed_traders_double_lose_and_leave_unprotected_nothing(
    profile: str, kills: int, steps: int, faults: int
) -> None:
    """`steps` of all edges at least see a kill; which of them do depends on the faults."""
    command = [sys.executable, "-m", "trading_assets.cli.main", "chaos", "orders"]
    command += ["--kills", str(kills), "--seed", "3", "--profile", profile, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    report = json.loads(run.stdout.splitlines()[-1])
    assert set(REQUIRED) <= report.keys()
    assert report["broken"] == []
    assert run.returncode == 0, run.stderr
    assert report["kills"] >= kills
    assert report["steps_killed_at"] >= steps
    assert report["faults"] >= faults
    assert min(report["intents"], report["orders"], report["grid_orders"]) > 0
    assert kills < 60 or (len(report["exits"]) >= 6 and len(report["grids"]) == 3)
    assert kills < 60 or report["stops_lost"] > 0
    assert kills < 60 or (len(report["dca"]) == 2 and report["dca_times"]["filled"] > 0)
    assert kills < 60 or all(not told.startswith("0 of") for told in report["reached"].values())
    assert kills < 20 or bool(report["second_traders"]) == (profile == "wild")


def test_no_step_of_the_saga_of_a_grid_or_of_a_dca_plan_is_left_out() -> None:
    assert {point.partition(" ")[2] for point in POINTS} == {*Step, *GridStep, *DcaStep}
    assert len(POINTS) == 2 * (len(Step) + len(GridStep) + len(DcaStep)) == len(set(POINTS))


def test_every_beginning_of_the_rotation_has_its_part_of_each_kind() -> None:
    for count in range(8, len(POINTS) + 1):
        for kind in KINDS.values():
            part = sum(point in kind for point in POINTS[:count])
            assert abs(part - count * len(kind) / len(POINTS)) <= 1.5, (count, POINTS[:count])
