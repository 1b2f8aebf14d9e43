"""`chaos faults`: what breaks while a session trades loses, doubles and bares nothing; the quick ones run here."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from trading_assets.chaos import breakdowns
from trading_assets.chaos.breakdowns import FAULTS, POSTGRESQL, SMALL_DISK, FaultReport, run_faults
from trading_assets.cli.chaos import chaos
from trading_assets.core.errors import ConfigurationError


def said(report: FaultReport, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    def found(names: Sequence[str], *_: object, **__: object) -> list[FaultReport]:
        assert list(names) == ["session-sigkill"]
        return [report]

    monkeypatch.setattr(breakdowns, "run_faults", found)
    done = CliRunner().invoke(chaos, ["faults", "--only", "session-sigkill", *arguments])
    return done.exit_code, done.output


def test_a_law_that_does_not_hold_is_told_and_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    good = FaultReport("session-sigkill", statuses={"executed": 9}, again_s=12.5)
    code, text = said(good, monkeypatch=monkeypatch)
    assert (code, "12.5" in text) == (0, True)
    code, text = said(FaultReport("session-sigkill", lost=2, broken=["2 signals are lost"]), monkeypatch=monkeypatch)
    assert (code, "2 signals are lost" in text) == (1, True)
    code, text = said(good, "--json", monkeypatch=monkeypatch)
    assert json.loads(text)[0]["statuses"] == {"executed": 9}


def test_an_unknown_fault_names_those_that_there_are() -> None:
    done = CliRunner().invoke(chaos, ["faults", "--only", "meteor"])
    assert done.exit_code == 2 and "postgres-silent" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["session-sigkill", "exchange-sigkill", "postgres-killed", "disk-full"])
def test_a_quick_fault_loses_doubles_and_bares_nothing_and_it_trades_again(name: str) -> None:
    needs = FAULTS[name].needs
    if needs == SMALL_DISK and os.getuid() != 0:
        pytest.skip("a file system of its own needs root")
    try:
        (report,) = run_faults([name], lambda _text: None)
    except ConfigurationError as error:
        if needs == POSTGRESQL:
            pytest.skip(str(error))
        raise
    assert report.broken == [] and report.lost == report.doubled == report.unprotected == 0
    assert report.again_s is not None and report.statuses == {"executed": 9}
