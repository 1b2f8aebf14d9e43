"""`trading-assets grid backtest`, as it is typed, on the seeded market and on the embedded exchange."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trading_assets.cli.main import cli
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.accounts import straight
from trading_assets_tests.simulator.fake_market import T0

HOUR = "--from 2026-03-02-00:00 --to 2026-03-02-11:00 --atr 4 --levels 8"


def run(command: str) -> Result:
    return CliRunner().invoke(cli, ["grid", "backtest", *command.split()])


def figures(command: str) -> dict[str, dict[str, float]]:
    done = run(f"{command} --json")
    assert done.exit_code == 0, done.output
    found: dict[str, dict[str, float]] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.mark.slow
def test_both_readings_are_told_with_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "grid.png"
    shown = run(f"ethusdt {HOUR} --seeded --picture {picture}")
    assert shown.exit_code == 0, shown.output
    for words in ("neutral grid of 8 levels", "proven", "one way", "of its capital of $500", "the coin itself"):
        assert words in shown.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_its_total_is_the_sum_of_its_parts_and_the_same_each_time() -> None:
    found, again = figures(f"ETHUSDT {HOUR} --seeded"), figures(f"ETHUSDT {HOUR} --seeded")
    assert found == again
    proven = found["proven"]
    assert proven["fills"] > 0
    assert proven["total"] == pytest.approx(proven["grid_profit"] + proven["inventory_pnl"] - proven["funding"])


def test_finer_candles_below_coarse_ones_come_to_the_result_of_the_finer_ones() -> None:
    fine = figures(f"ETHUSDT {HOUR} --seeded --bars 1m")["proven"]
    below = figures(f"ETHUSDT {HOUR} --seeded --bars 60m --detail 1m")["proven"]
    coarse = figures(f"ETHUSDT {HOUR} --seeded --bars 60m")["proven"]
    assert below == fine
    assert coarse["round_trips"] <= fine["round_trips"]


def test_bounds_by_bollinger_bands_and_fixed_ones_for_long_and_short() -> None:
    for kind in ("long", "short"):
        rest = "--from 2026-03-02-00:00 --to 2026-03-02-05:00 --seeded --levels 6"
        assert figures(f"ETHUSDT {rest} --kind {kind} --bollinger 2")["proven"]["fees"] > 0
        found = figures(f"ETHUSDT {rest} --kind {kind} --low 2600 --high 2750 --spacing arithmetic")
        assert found["proven"]["state"] == "running"


def test_prices_come_from_the_venue_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0 + 3 * 3_600_000))
    with serve_in_thread(config, straight(100_000, 97_500, 100_500, 97_500)) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        span = "--from 2026-01-01-00:00 --to 2026-01-01-01:00"
        found = figures(f"BTCUSDT {span} --low 95000 --high 105000 --levels 10 --spacing arithmetic")
    assert found["proven"]["round_trips"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--from 2026-03-03 --to 2026-03-02 --seeded", "--from is not before --to"),
        ("--from 2026-03-02 --to 2026-03-02 --seeded --bars 7m", "is no timeframe"),
        ("--from 2026-03-02 --to 2026-03-02 --seeded --bars 1m --detail 5m", "is not shorter"),
        ("--from 2026-03-02 --to 2026-03-02 --seeded --low 5", "both --low and --high"),
    ],
)
def test_what_cannot_be_is_said(options: str, words: str) -> None:
    done = run(f"ETHUSDT {options}")
    assert done.exit_code != 0
    assert words in done.stderr + str(done.exception)
