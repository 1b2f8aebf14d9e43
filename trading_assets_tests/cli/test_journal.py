"""`close`, `signals`, `trades`, `equity` and `logs` as a user types them, after trades on an embedded exchange."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trading_assets.cli.main import cli
from trading_assets.core.settings import load_settings
from trading_assets.core.trace import trace_id_of
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.venues import open_exchange
from trading_assets_tests.simulator.accounts import straight
from trading_assets_tests.simulator.fake_market import T0
from trading_assets_tests.trading.saga.fault_matrix import SYMBOL
from trading_assets_tests.trading.saga.test_resting_on_embedded import Stage


def run(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(cli, arguments, input=typed)


def rows(*arguments: str) -> list[dict[str, Any]]:
    """What a command prints as JSON."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A trader in the test's home, whose exchange the commands reach."""
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), straight(100_000, 100_000)) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        given = load_settings()
        database = Database(given.resolved_database_url)
        exchange = open_exchange(given)
        yield Stage(running, database, exchange)
        exchange.close()
        database.close()


@pytest.mark.slow
def test_close_cancels_the_entry_that_waits_and_says_so(stage: Stage) -> None:
    stage.signal("limit", "99900")
    refused = run("close", SYMBOL, typed="n\n")
    assert refused.exit_code == 1 and f"Cancel what waits in {SYMBOL}" in refused.stdout
    assert stage.intent().status == orders.RESTING, "nothing was done"
    closed = run("close", SYMBOL.lower(), "--yes")
    assert closed.exit_code == 0, closed.output
    assert f"1 waiting entries cancelled ({SYMBOL}); 0 closed" in closed.stdout
    assert stage.intent().status == orders.ENDED
    assert not stage.exchange.open_orders(SYMBOL)
    assert "stays ACTIVE" in run("resume").stdout, "trading goes on"
    assert [one["status"] for one in rows("signals")] == ["expired"]


@pytest.mark.slow
def test_a_trade_is_closed_by_command_and_shown_by_every_list(stage: Stage) -> None:
    stage.signal("market", "100000")
    reconcile(stage.context)
    assert stage.intent().status == orders.CONFIRMED
    closed = run("close", SYMBOL, "--yes")
    assert closed.exit_code == 0 and f"1 closed ({SYMBOL})" in closed.stdout, closed.output
    assert stage.exchange.position(SYMBOL) is None

    (signal,) = rows("signals", "--status", "executed", "--min-confidence", "80")
    assert (signal["symbol"], signal["position_type"], signal["stop_loss"]) == (SYMBOL, "LONG", 98_000)
    assert rows("signals", "--min-confidence", "80.1") == rows("signals", "--status", "active") == []
    (trade,) = rows("trades", "--symbol", SYMBOL.lower())
    assert (trade["symbol"], trade["position_side"]) == (SYMBOL, "LONG")
    assert trade["pnl"] < 0 < trade["fees"], "it cost its fees"
    assert rows("trades", "--symbol", "ETHUSDT") == []
    newest = rows("equity", "--limit", "1")
    assert len(newest) == 1 and 9_900 < newest[0]["equity"] < 10_000
    told = [str(one["text"]) for one in rows("logs")]
    assert any("positions closed by command" in text for text in told), told
    way = rows("logs", "--trace", trace_id_of(stage.intent().signal_id))
    assert way == rows("logs", "--trace", stage.intent().order_link_id)
    sources = ["signal", "order", "order", "order", "order", "fill", "fill", "closing"]
    assert [one["source"] for one in way] == sources, "the clock stands still: by kind"
    assert [one["text"] for one in way[1:5]] == ["intent", "submitted", "confirmed", "closed"]
    for command in ("signals", "trades", "equity", "logs"):
        shown = run(command)
        assert shown.exit_code == 0 and len(shown.stdout.splitlines()) > 3, shown.output


def test_lists_of_an_empty_ledger_are_empty_and_wrong_options_are_named() -> None:
    for command in ("signals", "trades", "equity", "logs"):
        assert rows(command) == []
        assert run(command).exit_code == 0
        assert run(command, "--limit", "0").exit_code == 2
    assert "executed" in run("signals", "--status", "done").stderr


def test_close_without_its_exchange_fails_and_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TRADING_ASSETS_COMMAND_DEADLINE_S", "5")
    result = run("close", SYMBOL, "--yes")
    assert result.exit_code == 1 and " 1 closed" not in result.stdout
