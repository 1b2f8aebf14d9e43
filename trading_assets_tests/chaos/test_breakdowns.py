"""`chaos faults`: what breaks while a session trades loses, doubles and bares nothing; the quick ones run here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from trading_assets.chaos import breakdowns
from trading_assets.chaos.breakdowns import FAULTS, run_faults
from trading_assets.chaos.signal_source import EAGER, NEVER
from trading_assets.chaos.stages import POSTGRESQL, SMALL_DISK, FaultReport
from trading_assets.cli.chaos import chaos
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.strategy_data import StrategyData
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets_tests.strategies.markets import walk


def test_a_session_of_a_trial_finds_no_signal_of_its_own() -> None:
    """Its selected coins have candles that close while it runs, and trade signals of the trial alone."""
    wild = walk(3, 3000, sigma=0.2)
    found = BollingerRsi(json.loads(NEVER)).signals(StrategyData("COINUSDT", wild))
    assert not found.long.any() and not found.short.any()
    eager = BollingerRsi(json.loads(EAGER)).signals(StrategyData("COINUSDT", wild))
    assert eager.long.any() and eager.short.any()


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
@pytest.mark.parametrize(
    "name", ["session-sigkill", "exchange-sigkill", "postgres-killed", "disk-full", "release-taken-back"]
)
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


@pytest.mark.slow
def test_a_lost_worker_of_the_session_is_replaced_by_another_one(broker_url: str) -> None:
    (report,) = run_faults(["worker-lost"], lambda _text: None)
    assert report.broken == [] and report.statuses == {"executed": 9}
    assert report.again_s is not None


def test_an_interrupt_reaches_children_also_where_the_shell_ignores_it() -> None:
    """A shell that starts a program in the background lets it, and so its children, ignore SIGINT."""
    child = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"]

    def ignores() -> str:
        return subprocess.run(child, capture_output=True, text=True, check=True).stdout.strip()

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert ignores() == "True"
        with breakdowns._heeding_interrupts():
            assert ignores() == "False"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
