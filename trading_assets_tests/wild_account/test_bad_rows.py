"""Kind 4: a row that cannot be read, or a look-up that is refused, stops nobody but its own symbol, and is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trading_assets_tests.wild_account.proxy import (
    CLOSED,
    EXECUTIONS,
    INSTRUMENTS,
    MONEY_LOG,
    OPEN_ORDERS,
    ORDER_HISTORY,
    POSITIONS,
    TICKERS,
    Row,
)
from trading_assets_tests.wild_account.scene import Scene, attempt

GOOD = ("SOLUSDT", "XRPUSDT", "LTCUSDT", "DOGEUSDT")
FOREIGN = "ADAUSDT"
DATED = "BTCUSDT-26MAR27"


def _set(**values: object) -> Callable[[Row], None]:
    return lambda row: row.update(values)


def _without(name: str) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        row.pop(name, None)

    return change


def _in(part: str, change: Callable[[Row], None]) -> Callable[[Row], None]:
    return lambda row: change(row[part])


ODD = [
    pytest.param(INSTRUMENTS, DATED, _without("fundingInterval"), id="contract-no-interval"),
    pytest.param(INSTRUMENTS, DATED, _in("lotSizeFilter", _set(minNotionalValue="-")), id="contract-no-number"),
    pytest.param(INSTRUMENTS, FOREIGN, _without("lotSizeFilter"), id="contract-no-lots"),
    pytest.param(INSTRUMENTS, FOREIGN, _set(fundingInterval=""), id="contract-empty-interval"),
    pytest.param(INSTRUMENTS, FOREIGN, _set(leverageFilter=None), id="contract-null-leverage"),
    pytest.param(INSTRUMENTS, FOREIGN, _set(contractType="LinearSomething", status="Halted"), id="contract-unknown"),
    pytest.param(TICKERS, FOREIGN, _set(bid1Price="--"), id="ticker-no-number"),
    pytest.param(TICKERS, FOREIGN, _set(lastPrice="NaN"), id="ticker-nan"),
    pytest.param(POSITIONS, FOREIGN, _without("positionIdx"), id="position-no-idx"),
    pytest.param(POSITIONS, FOREIGN, _set(side="None"), id="position-no-side"),
    pytest.param(POSITIONS, FOREIGN, _set(size="lots"), id="position-no-number"),
    pytest.param(OPEN_ORDERS, FOREIGN, _set(orderStatus="Active"), id="order-unknown-status"),
    pytest.param(OPEN_ORDERS, FOREIGN, _set(side=""), id="order-no-side"),
    pytest.param(OPEN_ORDERS, FOREIGN, _set(orderType="Twap", stopOrderType="tpslOrder"), id="order-unknown-type"),
    pytest.param(EXECUTIONS, FOREIGN, _set(side="None"), id="execution-no-side"),
    pytest.param(EXECUTIONS, FOREIGN, _set(execType="FutureSpread"), id="execution-unknown-type"),
    pytest.param(EXECUTIONS, FOREIGN, _set(execFee="free"), id="execution-no-number"),
    pytest.param(CLOSED, FOREIGN, _set(side="Long"), id="closing-unknown-side"),
    pytest.param(CLOSED, FOREIGN, _set(closedPnl="null"), id="closing-no-number"),
    pytest.param(CLOSED, FOREIGN, _set(execType="SomethingNew"), id="closing-unknown-type"),
    pytest.param(MONEY_LOG, FOREIGN, _set(cashFlow="?", type="AIRDROP_X"), id="money-unknown"),
]
"""A list, a symbol in it, and what is odd in its row."""


@pytest.mark.slow
@pytest.mark.parametrize(("path", "symbol", "change"), ODD)
def test_an_odd_row_of_another_coin_stops_nothing(
    roomy: Scene, path: str, symbol: str, change: Callable[[Row], None]
) -> None:
    scene = roomy
    (eth,) = scene.enter("ETHUSDT")
    scene.order(FOREIGN, "Buy", "200")
    scene.order(FOREIGN, "Buy", "100", orderType="Limit", price="0.2", timeInForce="GTC")
    scene.later(1)
    scene.order(FOREIGN, "Sell", "100", reduceOnly=True)
    scene.proxy.each_row(path, lambda row: change(row) if row["symbol"] == symbol else None)
    good = [scene.signal(symbol) for symbol in GOOD]
    report = scene.submit()
    assert set(report.executed) == set(good)
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.passes(2)
    assert scene.stop("ETHUSDT") is not None and scene.is_ours(eth)
    assert scene.rows("SELECT * FROM reconciliations")[-1]["new_fills"] == 0, "the last pass has read all there is"
    assert {row["symbol"] for row in scene.rows("SELECT symbol FROM fills")} >= {*GOOD, "ETHUSDT"}
    scene.proxy.clear()
    scene.passes(2)
    scene.require_equal_sums()


@pytest.mark.parametrize(
    ("path", "change"),
    [
        pytest.param(POSITIONS, _without("positionIdx"), id="position"),
        pytest.param(OPEN_ORDERS, _set(orderStatus="Active"), id="order"),
        pytest.param(EXECUTIONS, _set(side="None"), id="execution"),
        pytest.param(CLOSED, _set(side="Long"), id="closing"),
    ],
)
def test_an_odd_row_of_the_account_is_told_with_its_symbol(
    scene: Scene, path: str, change: Callable[[Row], None]
) -> None:
    scene.enter("ETHUSDT")
    scene.order(FOREIGN, "Buy", "200")
    scene.order(FOREIGN, "Buy", "100", orderType="Limit", price="0.2", timeInForce="GTC")
    scene.later(1)
    scene.order(FOREIGN, "Sell", "100", reduceOnly=True)
    scene.passes(1)
    scene.drain()
    scene.order(FOREIGN, "Sell", "50", reduceOnly=True)
    scene.proxy.each_row(path, lambda row: change(row) if row["symbol"] == FOREIGN else None)
    (report,) = scene.passes(1)
    assert any(symbol == FOREIGN and "read" in text for symbol, text in report.differences)
    assert scene.hears(FOREIGN)


@pytest.mark.parametrize(
    ("path", "change", "kind"),
    [
        pytest.param(INSTRUMENTS, _in("lotSizeFilter", _set(qtyStep="0")), "instrument", id="no-step"),
        pytest.param(INSTRUMENTS, _in("priceFilter", _set(tickSize="")), "instrument", id="empty-tick"),
        pytest.param(INSTRUMENTS, _in("leverageFilter", _set(maxLeverage="0.00")), "instrument", id="no-leverage"),
        pytest.param(TICKERS, _set(lastPrice="0"), "ticker", id="no-price"),
    ],
)
def test_an_odd_row_of_the_market_is_told_once_with_its_symbol(
    roomy: Scene, path: str, change: Callable[[Row], None], kind: str
) -> None:
    scene = roomy
    scene.reconcile()
    scene.proxy.each_row(path, lambda row: change(row) if row["symbol"] == FOREIGN else None)
    good = [scene.signal(symbol) for symbol in GOOD]
    assert set(scene.submit().executed) == set(good)
    for _ in range(2):
        scene.later(700)
        for symbol in GOOD:
            scene.signal(symbol)
        attempt(scene.submit)
    assert len(scene.hears(FOREIGN, kind, "cannot be read")) == 1


@pytest.mark.parametrize("count", [2, 5])
def test_a_refused_ticker_of_one_coin_stops_nobody_else(scene: Scene, count: int) -> None:
    scene.enter("ETHUSDT")
    bad, *good = [scene.signal(symbol) for symbol in ("SUIUSDT", *GOOD)[:count]]
    scene.proxy.refuse(TICKERS, 10001, "params error: symbol invalid", symbol="SUIUSDT")
    scene.proxy.each_row(TICKERS, lambda row: row["symbol"] != "SUIUSDT")
    report = scene.submit()
    assert set(report.executed) == set(good) and scene.signal_status(bad) == "active"
    assert scene.hears("SUIUSDT")


@pytest.mark.parametrize("path", [OPEN_ORDERS, ORDER_HISTORY, POSITIONS])
def test_a_refused_look_up_of_one_coin_stops_no_pass(scene: Scene, path: str) -> None:
    """A person has closed a coin that was delisted right after: its closing order can be looked up no more."""
    (eth,) = scene.enter("ETHUSDT")
    scene.order(FOREIGN, "Buy", "200")
    scene.later(1)
    scene.close_by_hand(FOREIGN)
    scene.proxy.refuse(path, 10001, "params error: symbol invalid", symbol=FOREIGN)
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.passes(2)
    assert scene.stop("ETHUSDT") is not None and scene.is_ours(eth)
    scene.require_equal_sums()


def test_an_unknown_order_of_a_delisted_coin_is_given_up_and_told(scene: Scene) -> None:
    scene.reconcile()
    scene.proxy.lose("/v5/order/create", processed=False, times=1)
    lost = scene.signal("SUIUSDT")
    scene.submit()
    scene.drain()
    scene.proxy.refuse(POSITIONS, 10001, "params error: symbol invalid", symbol="SUIUSDT")
    scene.proxy.each_row(INSTRUMENTS, lambda row: row["symbol"] != "SUIUSDT")
    scene.passes(4, seconds=6 * 3600)
    assert scene.intent(lost)["open_slot"] is None and scene.intent(lost)["status"] == "abandoned"
    assert scene.hears("SUIUSDT")


@pytest.mark.slow
@pytest.mark.parametrize("path", [POSITIONS, EXECUTIONS, CLOSED, OPEN_ORDERS])
def test_our_own_odd_row_costs_us_nothing_but_that_coins_pass(scene: Scene, path: str) -> None:
    """The odd row is of a position of ours: it stays ours, the other one is looked after."""
    eth, sol = scene.enter("ETHUSDT", "SOLUSDT")
    scene.later()
    scene.proxy.each_row(path, lambda row: row.update(side="?") if row["symbol"] == "ETHUSDT" else None)
    scene.stops_by_hand("SOLUSDT", stop=0, target=0)
    scene.try_passes(2)
    assert scene.stop("SOLUSDT") is not None
    scene.proxy.clear()
    scene.passes(1)
    assert scene.is_ours(eth) and scene.is_ours(sol)
    scene.require_equal_sums()


def test_flatten_closes_ours_beside_an_odd_row(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    scene.order(FOREIGN, "Buy", "200")
    scene.later(1)
    scene.proxy.each_row(POSITIONS, lambda row: row.update(side="?") if row["symbol"] == FOREIGN else None)
    attempt(scene.flatten)
    assert scene.size("ETHUSDT") == 0 and scene.size(FOREIGN) == 200


@pytest.mark.parametrize("row", [None, {}])
@pytest.mark.parametrize("path", [POSITIONS, EXECUTIONS, CLOSED, OPEN_ORDERS, TICKERS, INSTRUMENTS])
def test_what_is_no_row_at_all_is_left_out(roomy: Scene, path: str, row: object) -> None:
    scene = roomy
    (eth,) = scene.enter("ETHUSDT")
    scene.proxy.rewrite(path, lambda _, answer: answer["result"]["list"].insert(0, row))
    good = [scene.signal(symbol) for symbol in GOOD]
    attempt(scene.submit)
    scene.try_passes(1)
    assert {scene.signal_status(one) for one in good} == {"executed"} and scene.is_ours(eth)
