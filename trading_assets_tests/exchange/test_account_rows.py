"""Bybit's own examples of orders, fills, positions, wallet and key, and its words."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.core.errors import UnreadableAnswerError
from trading_assets.core.models import (
    CloseReason,
    FillKind,
    OrderPurpose,
    OrderStatus,
    RejectReason,
    Side,
    close_reason,
)
from trading_assets.exchange import account_rows
from trading_assets_tests.exchange import venue_rows
from trading_assets_tests.exchange.venue_rows import example, with_blanks


def test_a_wallet() -> None:
    row = example("account_wallet-balance")["list"][0]
    found = account_rows.wallet(row)
    assert found.equity == Decimal(row["totalEquity"])
    assert found.available == Decimal(row["totalAvailableBalance"])
    with pytest.raises(UnreadableAnswerError, match="totalEquity = ''"):
        account_rows.wallet(with_blanks(row))


def test_a_position_and_its_unset_stops() -> None:
    row = example("position_position")["list"][0]
    found = account_rows.position(row)
    assert found.symbol == row["symbol"]
    assert found.size == Decimal(row["size"])
    for unset in ("", "0", "0.00", "0.0000"):
        bare = account_rows.position({**row, "stopLoss": unset, "takeProfit": unset, "liqPrice": unset})
        assert (bare.stop_loss, bare.take_profit, bare.liquidation_price) == (None, None, None)
    with pytest.raises(UnreadableAnswerError, match="size = ''"):
        account_rows.position(with_blanks(row))


@pytest.mark.parametrize("name", ["order_open-order", "order_order-list"])
def test_an_order(name: str) -> None:
    for row in example(name)["list"]:
        found = account_rows.order(row)
        assert found.order_id == row["orderId"]
        assert found.status.value.replace(" ", "") == row["orderStatus"].lower()
        assert found.qty == Decimal(row["qty"])
        blank = account_rows.order({**with_blanks(row), **{key: row[key] for key in ("orderId", "qty", "cumExecQty")}})
        assert (blank.average_price, blank.trigger_price, blank.fee) == (None, None, 0)
        with pytest.raises(UnreadableAnswerError, match="cumExecQty"):
            account_rows.order({**row, "cumExecQty": ""})


def test_an_execution() -> None:
    for row in example("order_execution")["list"]:
        found = account_rows.execution(row)
        assert found.exec_id == row["execId"]
        assert (found.kind.value, found.exec_type) == (row["execType"].lower(), row["execType"])
        for key in ("execFee", "execQty", "execPrice", "execTime"):
            with pytest.raises(UnreadableAnswerError, match=f"{key} = ''"):
                account_rows.execution({**row, key: ""})


def test_a_closed_position() -> None:
    for row in example("position_close-pnl")["list"]:
        found = account_rows.closed_pnl(row)
        assert found.pnl == Decimal(row["closedPnl"])
        assert found.side is Side(row["side"])
        for key in ("closedPnl", "closedSize", "updatedTime"):
            with pytest.raises(UnreadableAnswerError, match=f"{key} = ''"):
                account_rows.closed_pnl({**row, key: ""})


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
    found = account_rows.order(venue_rows.order(orderStatus=word)).status
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
    assert account_rows.order(row).purpose is purpose


@pytest.mark.parametrize(
    ("word", "kind", "reason"),
    [
        ("Trade", FillKind.TRADE, CloseReason.STOP),
        ("BustTrade", FillKind.LIQUIDATION, CloseReason.LIQUIDATION),
        ("AdlTrade", FillKind.ADL, CloseReason.ADL),
        ("Settle", FillKind.SETTLEMENT, CloseReason.SETTLEMENT),
        ("SessionSettlePnL", FillKind.SETTLEMENT, CloseReason.SETTLEMENT),
        ("Delivery", FillKind.SETTLEMENT, CloseReason.SETTLEMENT),
        ("SomethingNew", FillKind.OTHER, CloseReason.STOP),
    ],
)
def test_what_moved_a_position_has_one_meaning_in_fills_and_closings(
    word: str, kind: FillKind, reason: CloseReason
) -> None:
    assert account_rows.execution(venue_rows.execution(execType=word)).kind is kind
    closing = account_rows.closed_pnl(venue_rows.closed_pnl(execType=word))
    assert close_reason(closing.kind, OrderPurpose.STOP) is reason


def test_why_an_order_was_refused() -> None:
    row = venue_rows.order(orderStatus="Cancelled", cancelType="UNKNOWN")
    kept = account_rows.order({**row, "rejectReason": "EC_NoError"})
    assert (kept.reject_reason, kept.venue_reason) == (None, "")
    thin = account_rows.order({**row, "rejectReason": "EC_NoImmediateQtyToFill"})
    assert (thin.reject_reason, thin.venue_reason) == (RejectReason.NO_LIQUIDITY, "EC_NoImmediateQtyToFill")
    new = account_rows.order({**row, "rejectReason": "EC_SomethingNew", "cancelType": "CancelByDCP"})
    assert (new.reject_reason, new.venue_reason) == (RejectReason.OTHER, "EC_SomethingNew, CancelByDCP")


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
    found = account_rows.api_key({"readOnly": 0, "permissions": permissions, **account})
    assert not found.may_withdraw
    assert len(found.faults) == (fault is not None)
    assert all(fault in text for text in found.faults if fault)


def test_a_key_that_may_withdraw() -> None:
    assert account_rows.api_key({"readOnly": 1, "permissions": {"Wallet": ["Withdraw"]}, "uta": 1}).may_withdraw


def test_a_side_that_is_not_known_is_an_error_of_the_project() -> None:
    with pytest.raises(UnreadableAnswerError, match="Sideways"):
        account_rows.order(venue_rows.order(side="Sideways"))
