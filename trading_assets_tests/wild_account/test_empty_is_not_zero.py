"""Kind 3: an empty text is "unknown", not 0: the last known value stays, it is said, and nothing is opened on it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from trading_assets_tests.wild_account.proxy import (
    INSTRUMENTS,
    OPEN_ORDERS,
    ORDER_HISTORY,
    POSITIONS,
    TICKERS,
    WALLET,
    Row,
)
from trading_assets_tests.wild_account.scene import ROOMY, Console, Scene, attempt

OF_THE_WALLET = [
    "totalEquity",
    "totalWalletBalance",
    "totalAvailableBalance",
    "totalInitialMargin",
    "totalMaintenanceMargin",
    "totalPerpUPL",
    "accountIMRate",
]
OF_A_COIN = ["equity", "walletBalance", "unrealisedPnl", "totalPositionIM"]
OF_A_POSITION = [
    "avgPrice",
    "leverage",
    "markPrice",
    "liqPrice",
    "bustPrice",
    "unrealisedPnl",
    "curRealisedPnl",
    "takeProfit",
    "createdTime",
    "updatedTime",
]


def test_isolated_margin_has_free_margin_or_one_clear_refusal(scene: Scene) -> None:
    scene.reconcile()
    scene.human.set_margin_mode(setMarginMode="ISOLATED_MARGIN")
    identity = scene.signal("SOLUSDT")
    report = scene.submit()
    assert identity in report.executed or "isolated" in report.refused[identity].lower()


def test_doctor_says_what_isolated_margin_means(scene: Scene, console: Console) -> None:
    scene.human.set_margin_mode(setMarginMode="ISOLATED_MARGIN")
    assert "isolated" in console.text("doctor")


def test_isolated_margin_counts_what_positions_hold(make_scene: Callable[..., Scene]) -> None:
    """Free is the coin's wallet less the margin of its positions and orders: here nothing is."""
    scene = make_scene(deposit=100, **ROOMY)
    scene.human.set_margin_mode(setMarginMode="ISOLATED_MARGIN")
    scene.reconcile()
    scene.order("BTCUSDT", "Buy", "0.014")
    scene.later()
    scene.passes(1)
    identity = scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert scene.size("SOLUSDT") == 0 and scene.signal_status(identity) != "executed"


def test_an_equity_that_is_empty_once_halts_nothing(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    scene.later()
    scene.proxy.each_row(WALLET, lambda row: row.update(totalEquity=""))
    scene.try_passes(1)
    scene.proxy.clear()
    scene.passes(1, seconds=3600)
    assert scene.states() == []
    assert min(scene.equities()) > 9000, "no equity of 0 is in the history"
    identity = scene.signal("SOLUSDT")
    assert identity in scene.submit().executed


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_THE_WALLET)
def test_no_empty_field_of_the_wallet_is_taken_for_zero(scene: Scene, name: str) -> None:
    (eth,) = scene.enter("ETHUSDT")
    before = scene.rows("SELECT * FROM equity ORDER BY equity_id")[-1]
    scene.proxy.each_row(WALLET, lambda row: row.update({name: ""}))
    scene.try_passes(2)
    assert scene.states() == [] and scene.is_ours(eth)
    newest = scene.rows("SELECT * FROM equity ORDER BY equity_id")[-1]
    known = {column for column in ("equity", "wallet_balance", "available") if Decimal(before[column]) > 0}
    assert all(Decimal(newest[column]) > 0 for column in known)
    sol = scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert scene.signal_status(sol) in ("active", "executed"), "it waits, or the field does not matter"
    if scene.signal_status(sol) == "active":
        assert scene.told, "what keeps it waiting is told"
    scene.proxy.clear()
    scene.passes(1)
    attempt(scene.submit)
    assert scene.signal_status(sol) == "executed"


@pytest.mark.parametrize("name", OF_A_COIN)
def test_no_empty_field_of_a_coin_is_taken_for_zero(scene: Scene, name: str) -> None:
    (eth,) = scene.enter("ETHUSDT")

    def unknown(row: Row) -> None:
        for coin in row["coin"]:
            coin[name] = ""

    scene.proxy.each_row(WALLET, unknown)
    scene.try_passes(2)
    assert scene.states() == [] and scene.is_ours(eth) and min(scene.equities()) > 9000


@pytest.mark.parametrize("name", OF_A_POSITION)
def test_no_empty_field_of_a_position_costs_the_position(scene: Scene, name: str) -> None:
    (eth,) = scene.enter("ETHUSDT")
    scene.proxy.each_row(POSITIONS, lambda row: row.update({name: ""}))
    scene.try_passes(2)
    scene.proxy.clear()
    scene.passes(1)
    assert scene.is_ours(eth) and scene.size("ETHUSDT") > 0 and scene.stop("ETHUSDT") is not None
    assert scene.states() == []


def test_a_size_that_is_empty_is_no_flat_position(scene: Scene) -> None:
    (eth,) = scene.enter("ETHUSDT")
    scene.proxy.each_row(POSITIONS, lambda row: row.update(size=""))
    scene.try_passes(2)
    scene.proxy.clear()
    scene.passes(1)
    assert scene.is_ours(eth)


@pytest.mark.parametrize("name", ["markPrice", "size", "positionValue"])
def test_a_position_of_unknown_value_is_no_exposure_of_zero(scene: Scene, name: str) -> None:
    """A person's position of 190 % of the equity: one field empty leaves no room for ours."""
    scene.reconcile()
    scene.order("BTCUSDT", "Buy", "0.295")
    scene.later()
    scene.passes(1)
    scene.proxy.each_row(POSITIONS, lambda row: row.update({name: ""}))
    scene.settings = scene.settings.model_copy(update={"max_total_exposure_pct": Decimal(190)})
    scene.restart()
    scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert scene.size("SOLUSDT") == 0


@pytest.mark.parametrize("name", ["lastPrice", "bid1Price", "ask1Price", "turnover24h"])
def test_a_ticker_with_an_empty_price_opens_nothing_and_stops_nobody_else(scene: Scene, name: str) -> None:
    scene.reconcile()
    bad, good = scene.signal("SOLUSDT"), scene.signal("XRPUSDT")

    def unknown(row: Row) -> None:
        if row["symbol"] == "SOLUSDT":
            row[name] = ""

    scene.proxy.each_row(TICKERS, unknown)
    attempt(scene.submit)
    assert scene.signal_status(good) == "executed" and scene.size("SOLUSDT") == 0
    scene.proxy.clear()
    attempt(scene.submit)
    assert scene.signal_status(bad) == "executed", "it was unreadable for a moment, no reason to reject it for good"


@pytest.mark.parametrize("name", ["minOrderQty", "qtyStep", "maxMktOrderQty"])
def test_rules_with_an_empty_quantity_are_no_rules(scene: Scene, name: str) -> None:
    scene.reconcile()
    bad, good = scene.signal("SOLUSDT"), scene.signal("XRPUSDT")

    def unknown(row: Row) -> None:
        if row["symbol"] == "SOLUSDT":
            row["lotSizeFilter"][name] = ""

    scene.proxy.each_row(INSTRUMENTS, unknown)
    attempt(scene.submit)
    assert scene.signal_status(good) == "executed" and scene.signal_status(bad) != "executed"


@pytest.mark.parametrize("path", [OPEN_ORDERS, ORDER_HISTORY])
def test_an_order_whose_price_is_empty_when_it_is_looked_up_gets_that_of_its_executions(
    scene: Scene, path: str
) -> None:
    scene.reconcile()
    identity = scene.signal("ETHUSDT")
    scene.proxy.each_row(path, lambda row: row.update(avgPrice=""))
    if path == ORDER_HISTORY:
        scene.proxy.empty(OPEN_ORDERS)
    assert scene.submit().executed == [identity]
    scene.proxy.clear()
    scene.passes(1)
    (fill,) = [row for row in scene.executions_at_exchange() if row["symbol"] == "ETHUSDT"]
    assert Decimal(scene.intent(identity)["average_price"]) == Decimal(fill["execPrice"])
    (row,) = scene.rows("SELECT executed_price FROM entry_signals WHERE signal_id = :s", s=identity)
    assert row["executed_price"] == float(fill["execPrice"])
