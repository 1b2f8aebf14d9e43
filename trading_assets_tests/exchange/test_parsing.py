"""Bybit's own examples, and the ways in which it says "no value"."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.errors import ExchangeUnavailableError, UnreadableAnswerError
from trading_assets.core.models import (
    CloseReason,
    ContractKind,
    ContractStatus,
    FillKind,
    OrderPurpose,
    OrderStatus,
    RejectReason,
    Side,
    close_reason,
)
from trading_assets.core.timeframes import Timeframe
from trading_assets.exchange import parsing
from trading_assets_tests.exchange import venue_rows

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = Path(os.environ.get("TRADING_ASSETS_SHARED", REPOSITORY.parent / "shared")) / "reference" / "bybit-examples"


def example(name: str) -> dict[str, Any]:
    file = EXAMPLES / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"Bybit's examples are not at {EXAMPLES}")
    return json.loads(file.read_text())["result"]


def with_blanks(row: dict[str, Any]) -> dict[str, Any]:
    """The row with every number that is text replaced by the empty text."""

    def blank(value: object) -> object:
        if isinstance(value, dict):
            return {key: blank(inner) for key, inner in value.items()}
        try:
            Decimal(value)  # type: ignore[arg-type]
        except (ArithmeticError, TypeError, ValueError):
            return value
        return "" if isinstance(value, str) else value

    return {key: blank(value) for key, value in row.items()}


@pytest.mark.parametrize("text", ["", None, "0", "0.00", "0E-8"])
def test_what_is_not_set_is_zero_or_none(text: str | None) -> None:
    assert parsing.decimal({"x": text}, "x") == 0
    assert parsing.positive({"x": text}, "x") is None
    assert parsing.milliseconds({"x": text}, "x") == 0
    assert parsing.decimal({}, "x") == 0


@pytest.mark.parametrize("text", ["abc", "1,5", "--", "1.2.3"])
def test_what_is_no_number_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(ExchangeUnavailableError, match="expected a number"):
        parsing.decimal({"x": text}, "x")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_what_is_not_finite_is_no_number(text: str) -> None:
    with pytest.raises(ExchangeUnavailableError, match="expected a number"):
        parsing.decimal({"x": text}, "x")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=12))
def test_a_number_is_read_exactly(value: Decimal) -> None:
    assert parsing.decimal({"x": str(value)}, "x") == value


def test_an_instrument() -> None:
    found = parsing.instrument(example("market_instrument")["list"][0])
    assert found.symbol == "BTCUSDT"
    assert (found.kind, found.status, found.settle_coin) == (ContractKind.PERPETUAL, ContractStatus.TRADING, "USDT")
    assert found.is_coin
    assert found.tick_size == Decimal("0.10")
    assert found.qty_step == Decimal("0.001")
    assert found.min_notional == 5
    assert found.listed_ms == 1_585_526_400_000
    assert found.funding_interval_min == 480


def test_tickers() -> None:
    for name in ("market_tickers", "market_tickers_2", "market_tickers_3"):
        for row in example(name)["list"]:
            if "markPrice" not in row:
                continue  # of the spot market
            assert parsing.ticker(row).symbol == row["symbol"]
            with pytest.raises(UnreadableAnswerError, match="lastPrice"):
                parsing.ticker(with_blanks(row))
    blank = parsing.ticker(venue_rows.ticker(fundingRate="", bid1Price="", ask1Price="2"))
    assert blank.funding_rate is None
    assert blank.spread_pct == 100


def test_an_order_book() -> None:
    found = parsing.order_book(example("market_orderbook"))
    assert found.bids[0][0] < found.asks[0][0]
    assert found.time_ms > 1_600_000_000_000


def test_candles() -> None:
    result = example("market_kline")
    found = parsing.candles(Timeframe.M60, result["list"])
    assert found.start_ms.tolist() == sorted(int(row[0]) for row in result["list"])
    newest = result["list"][0]
    assert [found.open[-1], found.high[-1], found.low[-1], found.close[-1]] == [float(x) for x in newest[1:5]]
    assert len(parsing.candles(Timeframe.M60, [])) == 0


def test_funding() -> None:
    result = example("market_history-fund-rate")
    found = parsing.funding(result["list"])
    assert found.time_ms.tolist() == sorted(int(row["fundingRateTimestamp"]) for row in result["list"])
    assert len(parsing.funding([])) == 0


def test_a_wallet() -> None:
    row = example("account_wallet-balance")["list"][0]
    found = parsing.wallet(row)
    assert found.equity == Decimal(row["totalEquity"])
    assert found.available == Decimal(row["totalAvailableBalance"])
    with pytest.raises(UnreadableAnswerError, match="totalEquity = ''"):
        parsing.wallet(with_blanks(row))


def test_a_position_and_its_unset_stops() -> None:
    row = example("position_position")["list"][0]
    found = parsing.position(row)
    assert found.symbol == row["symbol"]
    assert found.size == Decimal(row["size"])
    for unset in ("", "0", "0.00", "0.0000"):
        bare = parsing.position({**row, "stopLoss": unset, "takeProfit": unset, "liqPrice": unset})
        assert (bare.stop_loss, bare.take_profit, bare.liquidation_price) == (None, None, None)
    with pytest.raises(UnreadableAnswerError, match="size = ''"):
        parsing.position(with_blanks(row))


@pytest.mark.parametrize("name", ["order_open-order", "order_order-list"])
def test_an_order(name: str) -> None:
    for row in example(name)["list"]:
        found = parsing.order(row)
        assert found.order_id == row["orderId"]
        assert found.status.value.replace(" ", "") == row["orderStatus"].lower()
        assert found.qty == Decimal(row["qty"])
        blank = parsing.order({**with_blanks(row), **{key: row[key] for key in ("orderId", "qty", "cumExecQty")}})
        assert (blank.average_price, blank.trigger_price, blank.fee) == (None, None, 0)
        with pytest.raises(UnreadableAnswerError, match="cumExecQty"):
            parsing.order({**row, "cumExecQty": ""})


def test_an_execution() -> None:
    for row in example("order_execution")["list"]:
        found = parsing.execution(row)
        assert found.exec_id == row["execId"]
        assert (found.kind.value, found.exec_type) == (row["execType"].lower(), row["execType"])
        for key in ("execFee", "execQty", "execPrice", "execTime"):
            with pytest.raises(UnreadableAnswerError, match=f"{key} = ''"):
                parsing.execution({**row, key: ""})


def test_a_closed_position() -> None:
    for row in example("position_close-pnl")["list"]:
        found = parsing.closed_pnl(row)
        assert found.pnl == Decimal(row["closedPnl"])
        assert found.side is Side(row["side"])
        for key in ("closedPnl", "closedSize", "updatedTime"):
            with pytest.raises(UnreadableAnswerError, match=f"{key} = ''"):
                parsing.closed_pnl({**row, key: ""})


@pytest.mark.parametrize(
    ("word", "status", "final"),
    [
        ("New", OrderStatus.NEW, False),
        ("PartiallyFilled", OrderStatus.PARTIALLY_FILLED, False),
        ("Untriggered", OrderStatus.UNTRIGGERED, False),
        ("Triggered", OrderStatus.TRIGGERED, False),
        ("Filled", OrderStatus.FILLED, True),
        ("Cancelled", OrderStatus.CANCELLED, True),
        ("Rejected", OrderStatus.REJECTED, True),
        ("Deactivated", OrderStatus.DEACTIVATED, True),
        ("SomethingNew", OrderStatus.OTHER, False),
    ],
)
def test_every_documented_status_of_an_order_is_known(word: str, status: OrderStatus, final: bool) -> None:
    found = parsing.order(venue_rows.order(orderStatus=word)).status
    assert (found, found.is_final) == (status, final)


@pytest.mark.parametrize(
    ("waits_as", "made_as", "purpose"),
    [
        ("UNKNOWN", "CreateByUser", OrderPurpose.ORDINARY),
        ("", "CreateByClosing", OrderPurpose.ORDINARY),
        ("Stop", "CreateByUser", OrderPurpose.CONDITIONAL),
        ("StopLoss", "CreateByStopLoss", OrderPurpose.STOP),
        ("PartialStopLoss", "CreateByPartialStopLoss", OrderPurpose.STOP),
        ("UNKNOWN", "CreateByStopLoss", OrderPurpose.STOP),
        ("TakeProfit", "CreateByTakeProfit", OrderPurpose.TARGET),
        ("", "CreateByPartialTakeProfit", OrderPurpose.TARGET),
        ("TrailingStop", "CreateByTrailingStop", OrderPurpose.TRAILING_STOP),
    ],
)
def test_why_an_order_exists(waits_as: str, made_as: str, purpose: OrderPurpose) -> None:
    row = venue_rows.order(stopOrderType=waits_as, createType=made_as)
    assert parsing.order(row).purpose is purpose


@pytest.mark.parametrize(
    ("word", "kind", "reason"),
    [
        ("Trade", FillKind.TRADE, CloseReason.STOP),
        ("BlockTrade", FillKind.TRADE, CloseReason.STOP),
        ("FutureSpread", FillKind.TRADE, CloseReason.STOP),
        ("MovePosition", FillKind.TRADE, CloseReason.STOP),
        ("BustTrade", FillKind.LIQUIDATION, CloseReason.LIQUIDATION),
        ("AdlTrade", FillKind.ADL, CloseReason.ADL),
        ("Settle", FillKind.SETTLEMENT, CloseReason.SETTLEMENT),
        ("SessionSettlePnL", FillKind.SESSION, CloseReason.SESSION),
        ("Delivery", FillKind.SETTLEMENT, CloseReason.SETTLEMENT),
        ("SomethingNew", FillKind.OTHER, CloseReason.STOP),
    ],
)
def test_what_moved_a_position_has_one_meaning_in_fills_and_closings(
    word: str, kind: FillKind, reason: CloseReason
) -> None:
    assert parsing.execution(venue_rows.execution(execType=word)).kind is kind
    closing = parsing.closed_pnl(venue_rows.closed_pnl(execType=word))
    assert close_reason(closing.kind, OrderPurpose.STOP) is reason


def test_the_table_of_executions_has_every_kind() -> None:
    assert set(parsing.FILL_KINDS.values()) | {FillKind.OTHER} == set(FillKind)
    assert {kind for kind in FillKind if not kind.moves_position} == {
        FillKind.FUNDING,
        FillKind.SESSION,
        FillKind.OTHER,
    }


def test_a_session_that_is_settled_closes_nothing() -> None:
    row = venue_rows.closed_pnl(execType="SessionSettlePnL", orderId="", closedSize="3", closedPnl="-4.5")
    settled = parsing.closed_pnl(row)
    assert (settled.qty, settled.pnl) == (0, Decimal("-4.5")) and settled.order_id


def test_why_an_order_was_refused() -> None:
    row = venue_rows.order(orderStatus="Cancelled", cancelType="UNKNOWN")
    kept = parsing.order({**row, "rejectReason": "EC_NoError"})
    assert (kept.reject_reason, kept.venue_reason) == (None, "")
    thin = parsing.order({**row, "rejectReason": "EC_NoImmediateQtyToFill"})
    assert (thin.reject_reason, thin.venue_reason) == (RejectReason.NO_LIQUIDITY, "EC_NoImmediateQtyToFill")
    new = parsing.order({**row, "rejectReason": "EC_SomethingNew", "cancelType": "CancelByDCP"})
    assert (new.reject_reason, new.venue_reason) == (RejectReason.OTHER, "EC_SomethingNew, CancelByDCP")


@pytest.mark.parametrize(
    ("key", "word", "changed"),
    [
        ("contractType", "LinearFutures", {"kind": ContractKind.DATED}),
        ("contractType", "InversePerpetual", {"kind": ContractKind.INVERSE}),
        ("contractType", "SomethingNew", {"kind": ContractKind.OTHER}),
        ("status", "PreLaunch", {"status": ContractStatus.PRE_LAUNCH}),
        ("status", "Delivering", {"status": ContractStatus.SETTLING}),
        ("status", "Closed", {"status": ContractStatus.CLOSED}),
        ("status", "SomethingNew", {"status": ContractStatus.OTHER}),
        ("symbolType", "innovation", {}),
        ("symbolType", "stock", {"is_coin": False}),
        ("symbolType", "forex", {"is_coin": False}),
        ("symbolType", "commodity", {"is_coin": False}),
    ],
)
def test_the_words_of_a_contract(key: str, word: str, changed: dict[str, object]) -> None:
    row = example("market_instrument")["list"][0]
    assert parsing.instrument({**row, key: word}) == replace(parsing.instrument(row), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("permissions", "account", "fault"),
    [
        ({"ContractTrade": ["Order", "Position"]}, {"uta": 1}, None),
        ({"Derivatives": ["DerivativesTrade"]}, {"unified": 1}, None),
        ({"ContractTrade": ["Order"], "Spot": ["SpotTrade"]}, {"uta": 1}, "may not trade contracts"),
        ({}, {"uta": 1}, "may not trade contracts"),
        ({"ContractTrade": ["Order", "Position"]}, {"uta": 0}, "unified account"),
    ],
)
def test_what_a_key_may_not_do(permissions: dict[str, list[str]], account: dict[str, int], fault: str | None) -> None:
    found = parsing.api_key({"readOnly": 0, "permissions": permissions, **account})
    assert not found.may_withdraw
    assert len(found.faults) == (fault is not None)
    assert all(fault in text for text in found.faults if fault)


def test_a_key_that_may_withdraw() -> None:
    assert parsing.api_key({"readOnly": 1, "permissions": {"Wallet": ["Withdraw"]}, "uta": 1}).may_withdraw


def test_a_side_that_is_not_known_is_an_error_of_the_project() -> None:
    with pytest.raises(UnreadableAnswerError, match="Sideways"):
        parsing.order(venue_rows.order(side="Sideways"))
