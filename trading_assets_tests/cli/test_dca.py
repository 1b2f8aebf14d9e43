"""`trading-assets dca`, as it is typed, on the embedded exchange."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trading_assets.cli.main import cli
from trading_assets.core.settings import load_settings
from trading_assets.ledger import dca as dca_ledger
from trading_assets.ledger.database import Database
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.accounts import straight
from trading_assets_tests.simulator.fake_market import MINUTE, T0

SHAPE = ["--schedule", "every 2m", "--amount", "250", "--max", "2000", "--stop-pct", "10"]


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningExchange]:
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0))
    with serve_in_thread(config, straight(100_000, 99_500, 99_500, 99_000, 99_500)) as exchange:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", exchange.url)
        for name in ("MAX_SYMBOL_EXPOSURE_PCT", "MAX_TOTAL_EXPOSURE_PCT"):
            monkeypatch.setenv(f"TRADING_ASSETS_{name}", "1000")
        yield exchange


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def dca(command: str, *more: str) -> Result:
    return run("dca", *command.split(), *more)


def last_line(result: Result) -> str:
    return result.stdout.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_plan_is_shown_started_adjusted_paused_explained_and_stopped_by_commands(running: RunningExchange) -> None:
    dry = dca("start BTCUSDT --dry-run --safety 2 --safety-step 3", *SHAPE)
    assert (dry.exit_code, "safety order 2" in dry.stdout, "due at" in dry.stdout) == (0, True, True), dry.output
    assert last_line(dca("status --json")) == "[]"
    started = dca("start btcusdt --yes --safety 2 --safety-step 3", *SHAPE)
    assert started.exit_code == 0, started.output
    running.advance(2 * MINUTE)
    assert dca("maintain").exit_code == 0
    (row,) = json.loads(last_line(dca("status BTCUSDT --json")))
    assert (row["state"], row["filled"], row["held"], len(row["times"])) == ("running", 2, 0.004, 2)
    assert row["deployed"] == pytest.approx(row["held"] * row["average_entry"])
    link = row["times"][0]["order_link_id"]
    explained = run("explain", link)
    assert "DCA plan main:BTCUSDT:dca:1" in explained.stdout, explained.output
    steps = json.loads(last_line(run("explain", link, "--json")))["steps"]
    assert [step["what"] for step in steps] == ["order", "fill", "purpose", "plan"]
    assert dca("adjust BTCUSDT --amount 500 --yes").exit_code == 0
    assert dca("pause BTCUSDT lunch").exit_code == 0
    assert "lunch" in dca("status BTCUSDT").stdout
    assert dca("resume BTCUSDT").exit_code == 0
    stopped = dca("stop BTCUSDT enough --yes")
    assert (stopped.exit_code, "ended: BTCUSDT" in stopped.stdout) == (0, True), stopped.output
    (row,) = json.loads(last_line(dca("list --json")))
    assert (row["state"], row["held"], row["amount"]) == ("ended", 0.0, 500.0)


def test_a_plan_that_needs_a_person_is_among_the_intents(running: RunningExchange) -> None:
    assert dca("start BTCUSDT --yes", *SHAPE).exit_code == 0
    settings = load_settings()
    with closing(Database(settings.resolved_database_url)) as database, database.write() as connection:
        (plan,) = dca_ledger.living(connection, "main")
        dca_ledger.change(
            connection, plan.plan_id, running.now_ms(), state=dca_ledger.BLOCKED, reason="somebody traded"
        )
    shown = run("intents", "list")
    assert "the DCA plan in BTCUSDT needs a person, somebody traded" in shown.stdout, shown.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--schedule 0_9_*_* --amount 250 --max 2000 --stop-pct 10", "four fields"),
        ("--schedule 0_0_31_2_* --amount 250 --max 2000 --stop-pct 10", "is no schedule (Bad day-of-month)"),
        ("--amount 250 --max 2000 --stop-pct 10", "a plan needs --schedule"),
        ("--schedule every_2m --amount 250 --max 2000", "hard stop"),
        ("--schedule every_2m --amount 250 --max 200 --stop-pct 10", "at least one amount"),
        ("--schedule every_2m --amount 4 --max 200 --stop-pct 10", "are needed"),
        ("--schedule every_2m --amount 250 --max 2000 --stop 101000", "must be below the price"),
        ("--schedule every_2m --amount 250 --max 2000 --stop-pct 10 --target-pct 0.05", "fees"),
        (
            "--schedule every_2m --amount 250 --max 2000 --stop-pct 3 --safety 4 --safety-step 2",
            "lies beyond the stop",
        ),
        ("--schedule every_2m --amount 250 --max 300 --stop-pct 10 --safety 2 --safety-step 2", "may be deployed"),
        ("--schedule every_2m --amount 250 --max 9000000 --stop-pct 10", "are free"),
        ("--schedule every_2m --amount 250 --max 2000 --stop-pct 10 --leverage 90", "leverage 90"),
        ("--schedule every_2m --amount 250 --max 2000 --stop-pct 10 --end 2020-01-01", "must come after"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_found(running: RunningExchange, options: str, words: str) -> None:
    found = dca("start BTCUSDT --yes", *(one.replace("_", " ") for one in options.split()))
    expected = words.replace("four fields", "4 fields were found")
    assert found.exit_code != 0
    assert expected in found.output + str(found.exception), found.output
    assert last_line(dca("list --json")) == "[]"


@pytest.mark.slow
def test_a_backtest_gives_figures_and_a_picture(running: RunningExchange, tmp_path: Path) -> None:
    running.advance(10 * MINUTE)
    picture = tmp_path / "plan.png"
    command = f"backtest BTCUSDT --from 2026-01-01 --target-pct 1 --picture {picture}"
    shown = dca(command, *SHAPE)
    assert shown.exit_code == 0, shown.output
    assert "scheduled times filled" in shown.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    row = json.loads(last_line(dca(f"{command} --json", *SHAPE)))
    assert (row["filled"], row["skipped"]) == (5, 0)
    assert row["total"] == pytest.approx(row["closed_pnl"] + row["open_pnl"] - row["funding"])


@pytest.mark.parametrize(
    "option",
    [
        "--amount nan",
        "--max 1e999999",
        "--stop-pct -1",
        "--safety-scale 1e999999",
        "--safety-step 0",
        "--safety 21",
        "--grace 99999999999999999999",
        "--grace 1",
        "--leverage 1e-999999",
        "--target-pct inf",
        "--end never",
    ],
)
def test_what_is_no_number_of_a_plan_is_refused_as_it_is_typed(option: str) -> None:
    refused = dca(f"start BTCUSDT --schedule 1h --amount 50 --max 500 --stop-pct 10 {option} --yes")
    assert refused.exit_code == 2
    assert f"Invalid value for '{option.split(maxsplit=1)[0]}'" in refused.stderr


@pytest.mark.slow
def test_of_several_coins_none_is_started_where_one_cannot_be(running: RunningExchange) -> None:
    shape = "--schedule 1h --amount 250 --max 1000 --stop-pct 10 --yes"
    refused = dca(f"start BTCUSDT BTCUSDT-30JAN26 {shape}")
    assert refused.exit_code == 1
    assert "BTCUSDT-30JAN26 is to be delivered" in str(refused.exception) + refused.stderr
    assert json.loads(last_line(dca("list --json"))) == []
    twice = dca(f"start BTCUSDT BTCUSDT {shape}")
    assert twice.exit_code == 0, twice.output
    assert len(json.loads(last_line(dca("list --json")))) == 1
