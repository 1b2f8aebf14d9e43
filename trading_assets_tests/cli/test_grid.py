"""`trading-assets grid`, as it is typed, on the embedded exchange."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from trading_assets.cli.main import cli
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.accounts import straight
from trading_assets_tests.simulator.fake_market import MINUTE, T0

START = "--low 95000 --high 105000 --levels 10 --spacing arithmetic --capital 500 --stop-low 93000 --stop-high 107000"


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningExchange]:
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0))
    with serve_in_thread(config, straight(100_000, 97_500, 97_500)) as exchange:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", exchange.url)
        for name in ("MAX_SYMBOL_EXPOSURE_PCT", "MAX_TOTAL_EXPOSURE_PCT"):
            monkeypatch.setenv(f"TRADING_ASSETS_{name}", "1000")
        yield exchange


def run(command: str) -> Result:
    return CliRunner().invoke(cli, ["grid", *command.split()])


@pytest.mark.slow
def test_a_grid_is_shown_started_paused_moved_and_stopped_by_commands(running: RunningExchange) -> None:
    dry = run(f"start BTCUSDT {START} --dry-run")
    assert (dry.exit_code, "10 levels from 95000" in dry.stdout) == (0, True), dry.output
    assert run("status --json").stdout.strip().splitlines()[-1] == "[]"
    started = run(f"start BTCUSDT {START} --yes")
    assert (started.exit_code, "12 orders placed" in started.stdout) == (0, True), started.output
    running.advance(2 * MINUTE)
    assert run("maintain").exit_code == 0
    (row,) = json.loads(run("status --json").stdout.strip().splitlines()[-1])
    assert (row["state"], row["inventory"], row["waiting_orders"]) == ("running", 0.004, 12)
    assert "BTCUSDT" in run("status").stdout
    levels = json.loads(run("levels btcusdt --json").stdout.strip().splitlines()[-1])
    assert [one["status"] for one in levels].count("closing") == 2
    assert run("pause BTCUSDT lunch").exit_code == 0
    assert "lunch" in run("status BTCUSDT").stdout
    assert run("resume BTCUSDT").exit_code == 0
    moved = run("recentre BTCUSDT --yes --stop-low 90000")
    assert moved.exit_code == 0, moved.output
    (row,) = json.loads(run("status --json").stdout.strip().splitlines()[-1])
    assert (row["generation"], row["low"], row["high"], row["inventory"]) == (2, 92_500.0, 102_500.0, 0.004)
    stopped = run("stop BTCUSDT enough --yes")
    assert (stopped.exit_code, "ended: BTCUSDT" in stopped.stdout) == (0, True), stopped.output


def test_what_cannot_be_is_refused_with_the_figures(running: RunningExchange) -> None:
    bad = run("start BTCUSDT --low 99990 --high 100010 --levels 100 --capital 5 --yes")
    assert bad.exit_code == 1
    for words in ("ticks of 0.1", "a level; at least", "--stop-low", "--stop-high"):
        assert words in bad.stderr, bad.stderr
    assert "give the bounds once" in run("start BTCUSDT --capital 5 --atr 2 --low 9").stderr
    assert run("pause ETHUSDT").exit_code == 1
    assert run("status").stdout.strip().endswith("none")


def test_bounds_come_from_atr_or_bollinger_bands(running: RunningExchange) -> None:
    for option in ("--atr 3", "--bollinger 2"):
        shown = run(f"start BTCUSDT {option} --levels 2 --capital 500 --dry-run --timeframe 1m")
        assert "2 levels from" in shown.stdout or "too few candles, or a width of nothing" in str(shown.exception)


@pytest.mark.parametrize(
    "option",
    [
        "--low nan",
        "--low 1e-999999",
        "--high 1e999999",
        "--capital -5",
        "--stop-low inf",
        "--leverage 0",
        "--stop-beyond nan",
        "--atr nan",
        "--bollinger inf",
        "--levels 1",
    ],
)
def test_what_is_no_number_of_a_grid_is_refused_as_it_is_typed(option: str) -> None:
    refused = run(f"start BTCUSDT {START} {option} --yes")
    assert refused.exit_code == 2
    assert f"Invalid value for '{option.split(maxsplit=1)[0]}'" in refused.stderr
