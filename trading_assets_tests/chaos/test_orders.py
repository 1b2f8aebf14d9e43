"""`chaos orders` in its small form, as a user runs it: traders are killed, and nothing is doubled, lost or bare."""

import json
import subprocess
import sys

REQUIRED = [
    *("intents", "kills", "faults", "orders", "duplicates", "orphans", "unprotected_positions"),
    *("unprotected_seconds_max", "mismatches"),
]


def test_fifty_killed_traders_double_lose_and_bare_nothing() -> None:
    command = [
        sys.executable,
        "-m",
        "trading_assets.cli.main",
        "chaos",
        "orders",
        "--kills",
        "50",
        "--seed",
        "3",
        "--json",
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    report = json.loads(run.stdout.splitlines()[-1])
    assert set(REQUIRED) <= report.keys()
    assert report["broken"] == []
    assert run.returncode == 0, run.stderr
    assert report["kills"] >= 50
    assert report["steps_killed_at"] >= 12, "of 18 edges; which of them come depends on the faults"
    assert min(report["intents"], report["orders"], report["faults"], report["stops_lost"]) > 0
