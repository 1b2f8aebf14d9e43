"""The unit of systemd for `serve`: it starts what there is, and gives a command the time to end."""

from __future__ import annotations

from configparser import RawConfigParser
from pathlib import Path

from trading_assets.cli.main import cli
from trading_assets.service.serve import END_WITHIN_S

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "trading-assets-serve.service"


def test_the_unit_starts_a_command_that_is_there_and_lets_it_end() -> None:
    unit = RawConfigParser()
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT.read_text())
    program, command = unit["Service"]["ExecStart"].split()
    assert Path(program).name == "trading-assets" and command in cli.commands
    assert float(unit["Service"]["TimeoutStopSec"]) >= END_WITHIN_S
    assert unit["Service"]["Restart"] == "always" and unit["Unit"]["StartLimitIntervalSec"] == "0"
