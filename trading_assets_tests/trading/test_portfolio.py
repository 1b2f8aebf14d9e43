"""The portfolio: exposure, distances, drawdown, and results that add up, funding included."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from rich.console import Console

from trading_assets.cli.portfolio import plain, print_portfolio
from trading_assets.cli.status import print_status
from trading_assets.core.models import Side
from trading_assets.core.timeframes import DAY_MS
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.portfolio import DIMENSIONS, Portfolio, portfolio
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard as risk_guard
from trading_assets_tests.trading.fixtures import Harness, add_signal, harness_on

D = Decimal


def read(harness: Harness) -> Portfolio:
    reconcile(harness.context)
    found = portfolio(harness.database, "main")
    assert found is not None
    return found


def test_there_is_none_before_the_books_were_read(database: Database) -> None:
    assert portfolio(database, "main") is None


def test_exposure_is_at_the_mark_and_liquidation_is_a_distance(database: Database) -> None:
    harness = harness_on(database, "AUSDT", "BUSDT")
    add_signal(database, "AUSDT")
    add_signal(database, "BUSDT", position_type="SHORT", stop_loss=102.0, take_profit=96.0)
    submit_orders(harness.context)
    held = harness.exchange.open
    held["AUSDT"] = replace(held["AUSDT"], mark_price=D(110), liquidation_price=D(88))
    found = read(harness)
    rows = found.positions.set_index("symbol")
    assert rows.loc["AUSDT", ["notional", "liquidation_pct"]].tolist() == [110.0, pytest.approx(20.0)]
    assert rows.loc["AUSDT", "share_pct"] == pytest.approx(1.1, rel=1e-3)
    assert plain(found)["positions"][1]["liquidation_pct"] is None  # type: ignore[index]
    assert (found.exposure, found.net_exposure) == (210.0, 10.0)
    assert found.exposure_pct == pytest.approx(2.1, rel=1e-3)


def test_drawdowns_are_of_now_and_of_ever(sqlite: Database) -> None:
    harness = harness_on(sqlite, max_drawdown_pct=50.0)
    for change in (0, -1000, 500):
        harness.exchange.balance += change
        harness.later()
        found = read(harness)
    assert found.drawdown_pct == pytest.approx(-5.0)
    assert found.max_drawdown_pct == pytest.approx(-10.0)


@pytest.mark.slow
def test_funding_belongs_to_the_position_that_was_open_when_it_was_paid(database: Database) -> None:
    harness = harness_on(database, "AUSDT", "BUSDT")
    pay = harness.exchange.pay_funding
    pay("AUSDT", D(16))
    harness.later()
    for symbol in ("AUSDT", "BUSDT"):
        add_signal(database, symbol)
    submit_orders(harness.context)
    harness.later()
    pay("AUSDT", D(1))
    pay("BUSDT", D(-2))
    harness.later()
    harness.exchange.close_position("AUSDT", "target")
    harness.later()
    pay("AUSDT", D(4))
    found = read(harness)
    by = {(row["strategy"], row["symbol"]): row for row in found.ever.by.to_dict("records")}
    assert by["bollinger_rsi", "AUSDT"]["funding"] == 1.0
    assert by["bollinger_rsi", "AUSDT"]["net"] == pytest.approx(3.8878 - 1)
    assert by["bollinger_rsi", "BUSDT"]["net"] == 2.0
    assert by["unknown", "AUSDT"]["funding"] == 20.0
    assert found.ever.net == pytest.approx(3.8878 - 19)
    for dimension in DIMENSIONS:
        assert found.ever.by_one(dimension)["net"].sum() == pytest.approx(found.ever.net)
    console = Console(record=True, width=200)
    print_status(database, harness.context.settings, console)
    closed, alone = console.export_text().split("Closed trades")[1].split("Funding of positions without a closed trade")
    assert "AUSDT" in closed and "BUSDT" not in closed and "unknown" not in closed
    assert "BUSDT" in alone and "unknown" in alone


@pytest.mark.slow
def test_today_begins_at_midnight(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT", "BUSDT")
    for symbol in ("AUSDT", "BUSDT"):
        add_signal(sqlite, symbol)
    submit_orders(harness.context)
    harness.exchange.close_position("AUSDT", "target")
    harness.exchange.time_ms += DAY_MS
    harness.exchange.close_position("BUSDT", "stop")
    found = read(harness)
    assert (found.today.closings, found.ever.closings) == (1, 2)
    assert found.today.pnl == pytest.approx(-2.1089)


def test_it_is_printed_with_what_a_trader_looks_for(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT")
    add_signal(sqlite, "AUSDT")
    submit_orders(harness.context)
    harness.exchange.listed["ZUSDT"] = harness.exchange.listed["AUSDT"]
    harness.exchange.set_price("ZUSDT", 100)
    harness.exchange.open_foreign("ZUSDT", Side.SELL)
    now_ms = harness.exchange.time_ms
    risk_guard.command(sqlite, "main", RiskState.REDUCING, reason="storm", actor="ann", now_ms=now_ms)
    console = Console(width=160, record=True, file=None, quiet=False)
    with console.capture() as printed:
        print_portfolio(read(harness), "main", console)
    text = printed.get()
    for expected in ("equity $9,999.89", "REDUCING", "by ann: storm", "exposure $200.00 (2.0 %", "AUSDT", "ZUSDT"):
        assert expected in text
