"""`chaos orders` in its small form, as a user runs it: traders are killed, and nothing is doubled, lost or bare."""

import json
import subprocess
import sys

import pytest

REQUIRED = [
    *("intents", "kills", "faults", "orders", "duplicates", "orphans", "unprotected_positions"),
    *("unprotected_seconds_max", "mismatches", "foreign_touched", "wrong_levels", "misattributed", "silent_minutes"),
    *("wrong_sums", "two_traded", "second_traders", "by_hand"),
]


@pytest.mark.parametrize(
    ("profile", "kills", "steps", "faults"),
    [
        ("wild", 5, 1, 0),
        pytest.param("tame", 50, 12, 1, marks=pytest.mark.slow),
        pytest.param("wild", 50, 8, 1, marks=pytest.mark.slow),
    ],
)
def test_killed_traders_double_lose_and_leave_unprotected_nothing(
    profile: str, kills: int, steps: int, faults: int
) -> None:
    """`steps` of the 18 edges at least see a kill; which of them do depends on the faults."""
    command = [sys.executable, "-m", "trading_assets.cli.main", "chaos", "orders"]
    command += ["--kills", str(kills), "--seed", "3", "--profile", profile, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    report = json.loads(run.stdout.splitlines()[-1])
    assert set(REQUIRED) <= report.keys()
    assert report["broken"] == []
    assert run.returncode == 0, run.stderr
    assert report["kills"] >= kills
    assert report["steps_killed_at"] >= steps
    assert report["faults"] >= faults
    assert min(report["intents"], report["orders"]) > 0
    assert kills < 50 or report["stops_lost"] > 0
    assert bool(report["by_hand"]) == bool(report["second_traders"]) == (profile == "wild") or kills < 50
