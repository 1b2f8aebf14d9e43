"""What an order came to is told in words of the field; nobody above the connector knows the exchange's."""

from __future__ import annotations

import ast
import json
import logging
from pathlib import Path

import pytest

from trading_assets.core import errors
from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ClockSkewError,
    ExchangeError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    InsufficientBalanceError,
    NotSentError,
    OrderRejectedError,
    RateLimitedError,
    SymbolUnavailableError,
)
from trading_assets.core.events import Failure, TradeExecuted, TradeFailed, failure_of, record_of
from trading_assets.core.models import OrderStatus, Side
from trading_assets.exchange import account_rows, error_mapping, market_rows
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.trading.execute.submit import submit_orders
from trading_assets_tests.fakes import order_link_id
from trading_assets_tests.trading.fixtures import add_signal, harness_on

ROOT = Path(errors.__file__).parents[1]
ABOVE = (
    "core",
    "trading",
    "defs",
    "ledger",
    "notifications",
    "strategies",
    "backtesting",
    "market",
    "reporting",
    "cli",
)
BASIS_POINTS = 10_000

WORDS = {
    *account_rows.FILL_KINDS,
    *account_rows._ORDER_STATUS,
    *account_rows._EXITS,
    *market_rows._CONTRACT_KINDS,
    *market_rows._CONTRACT_STATUS,
    *account_rows._REJECTED,
    *(f"CreateBy{word}" for word in account_rows._EXITS),
    *("execType", "orderLinkId", "retCode", "stopOrderType", "createType", "settleCoin", "positionIdx", "UNIFIED"),
}
"""Words of Bybit's. A migration holds those that stand in old ledgers."""


@pytest.mark.slow
def test_a_filled_order_is_told_once_to_log_human_and_page(sqlite: Database, caplog: pytest.LogCaptureFixture) -> None:
    harness = harness_on(sqlite)
    identity, context = add_signal(sqlite), harness.context
    with caplog.at_level(logging.INFO, logger="trading_assets"):
        submit_orders(context)
        submit_orders(context)
    [event] = context.events
    assert isinstance(event, TradeExecuted)
    assert (event.symbol, event.side, event.signal_id) == ("BTCUSDT", Side.BUY, identity)
    assert (event.qty, event.price, event.order_link_id) == (1, 100, order_link_id(identity))
    logged = [json.loads(record.message) for record in caplog.records if record.message.startswith('{"event"')]
    assert logged == [record_of(event)]
    assert logged[0]["event"] == "trade_executed" and logged[0]["price"] == "100"
    assert harness.told == [("Buy BTCUSDT", "1.000 at 100, stop 98.0, target 104.0")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (InsufficientBalanceError("ab not enough for new order"), Failure.BALANCE),
        (SymbolUnavailableError("This contract is not live"), Failure.SYMBOL),
        (OrderRejectedError("price out of range"), Failure.REJECTED),
    ],
)
@pytest.mark.parametrize("call", ["place_order", "set_leverage"])
def test_an_order_that_comes_to_nothing_says_why(
    sqlite: Database, error: ExchangeError, failure: Failure, call: str
) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite)
    harness.exchange.fail(call, error, times=9)
    context = harness.context
    submit_orders(context)
    [event] = context.events
    assert isinstance(event, TradeFailed)
    assert (event.name, event.failure, event.symbol) == ("trade_failed", failure, "BTCUSDT")
    assert str(error) in event.detail
    assert harness.told[-1][0] == f"order failed: {failure}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [ExchangeFatalError("denied"), ClockSkewError("differ"), RateLimitedError("too many"), NotSentError("refused")],
)
@pytest.mark.parametrize("call", ["place_order", "set_leverage"])
def test_a_signal_whose_order_was_certainly_not_placed_waits_for_its_life(
    sqlite: Database, error: ExchangeError, call: str
) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail(call, error, times=9)
    context = harness.context
    submit_orders(context)
    assert [row["signal_id"] for row in signals.active(sqlite, "main")] == [identity]
    harness.exchange.heal()
    submit_orders(context)
    assert [event.name for event in context.events][-1:] == ["trade_executed"]


def test_an_order_that_fills_nothing_is_a_failure(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite)
    harness.exchange.status_of_new = OrderStatus.CANCELLED
    context = harness.context
    submit_orders(context)
    [event] = context.events
    assert isinstance(event, TradeFailed) and event.failure is Failure.NOT_FILLED


def test_every_error_of_an_order_has_its_word() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ExchangeError)]
    found = {kind.__name__: failure_of(kind("x")) for kind in kinds}
    assert found[AmbiguousOutcomeError.__name__] is Failure.UNKNOWN
    assert found[ExchangeUnavailableError.__name__] is Failure.UNKNOWN
    assert set(found.values()) == set(Failure) - {Failure.NOT_FILLED}


OF_MESSENGERS = ROOT / "notifications" / "apprise_channel.py"
"""Reads the HTTP status of a messenger's answer, no exchange's."""


def _sources() -> list[Path]:
    return sorted(path for folder in ABOVE for path in (ROOT / folder).rglob("*.py"))


def test_the_sources_are_found() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in _sources()} == set(ABOVE)


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_above_the_connector_knows_a_code_or_a_word(path: Path) -> None:
    codes = set(error_mapping.CODES) | {error_mapping.NO_SUCH_ORDER}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not str(node.module).startswith("trading_assets.exchange")
        if isinstance(node, ast.Attribute) and path not in (Path(errors.__file__), OF_MESSENGERS):
            assert node.attr not in ("code", "status_code"), f"line {node.lineno} reads an exchange's code"
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value != BASIS_POINTS:
            assert node.value not in codes, f"line {node.lineno} holds the code {node.value}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "migrations" not in path.parts:
            assert node.value not in WORDS, f"line {node.lineno} holds the word {node.value}"
