"""Kind 2: a record that is known by its id is not known in full; ledger and exchange agree to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from trading_assets_tests.wild_account.proxy import (
    CLOSED,
    EXECUTIONS,
    MONEY_LOG,
    OPEN_ORDERS,
    ORDER_HISTORY,
    POSITIONS,
    WALLET,
    Answer,
    Proxy,
    Request,
    Row,
)
from trading_assets_tests.wild_account.scene import ROOMY, Scene

WITH_ROWS_OF_OURS = [POSITIONS, CLOSED, EXECUTIONS, OPEN_ORDERS, ORDER_HISTORY]


@pytest.mark.slow
def test_a_closing_order_that_fills_over_minutes_is_booked_whole(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene(deposit=20_000_000, position_size=600_000, **ROOMY)
    (identity,) = scene.enter("LTCUSDT", distance="0.2")
    price = scene.last_price("LTCUSDT") + 2 * scene.tick("LTCUSDT")
    size, order = scene.size("LTCUSDT"), {"orderType": "Limit", "price": f"{price:f}", "timeInForce": "GTC"}
    link = scene.order("LTCUSDT", "Sell", size, reduceOnly=True, **order)
    known = Decimal(0)
    for _ in range(900):
        scene.later(5)
        left = scene.size("LTCUSDT")
        if size - left > known:
            known = size - left
            scene.reconcile()
            assert scene.closed_qty(identity) == known
            assert scene.is_ours(identity) is (left > 0)
        if left == 0:
            break
    assert link in {row["orderId"] for row in scene.closed_at_exchange()} and left == 0
    scene.passes(2)
    scene.require_equal_sums()


def _half(row: Row) -> None:
    """A closing order's row as it was when half of it had filled."""
    for name in ("closedSize", "closedPnl", "openFee", "closeFee", "cumEntryValue", "cumExitValue"):
        row[name] = str(Decimal(row[name]) / 2)


def _show_half_of_the_closing(scene: Scene, symbol: str, size: Decimal) -> None:
    """Half of a position that was closed by hand seems to be there still, with its stop."""
    before = next(row for row in _positions(scene) if row["symbol"] == symbol)
    scene.close_by_hand(symbol)
    scene.proxy.each_row(CLOSED, _half)

    def half_filled(row: Row) -> None:
        if row["side"] == "Sell":
            for name in ("execQty", "closedSize", "execValue", "execFee"):
                row[name] = str(Decimal(row[name]) / 2)

    def still_there(_: Request, answer: Answer) -> None:
        answer["result"]["list"] = [before | {"size": str(size / 2)}]

    scene.proxy.each_row(EXECUTIONS, half_filled)
    scene.proxy.rewrite(POSITIONS, still_there)


def _positions(scene: Scene) -> list[Row]:
    return list(scene.human.get_positions(category="linear", settleCoin="USDT")["result"]["list"])


@pytest.mark.parametrize("hours", [0, 3])
def test_rows_that_grow_after_they_were_booked_are_booked_again(scene: Scene, hours: int) -> None:
    """Also where they grow hours after they were made, when nobody looks so far back any more."""
    (identity,) = scene.enter("ETHUSDT")
    size = scene.size("ETHUSDT")
    _show_half_of_the_closing(scene, "ETHUSDT", size)
    scene.passes(1)
    assert scene.closed_qty(identity) == size / 2 and scene.is_ours(identity)
    scene.try_passes(2 * hours, seconds=1800)
    scene.proxy.clear()
    scene.passes(2)
    assert scene.closed_qty(identity) == size and scene.intent(identity)["status"] == "closed"
    scene.require_equal_sums()


@pytest.mark.parametrize("name", ["closedPnl", "openFee", "closeFee"])
def test_a_closing_whose_numbers_come_later_is_booked_with_them(scene: Scene, name: str) -> None:
    (identity,) = scene.enter("ETHUSDT")
    scene.later()
    scene.close_by_hand("ETHUSDT")
    scene.proxy.each_row(CLOSED, lambda row: row.update({name: ""}))
    scene.try_passes(1)
    scene.proxy.clear()
    scene.passes(2)
    (row,) = scene.closed_at_exchange()
    fees = sum((Decimal(one["fees"]) for one in scene.closings(identity)), Decimal(0))
    assert fees == Decimal(row["openFee"]) + Decimal(row["closeFee"])
    scene.require_equal_sums()


def test_an_execution_whose_fee_comes_later_is_booked_with_it(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    scene.later()
    scene.close_by_hand("ETHUSDT")
    scene.proxy.each_row(EXECUTIONS, lambda row: row.update(execFee="0"))
    scene.passes(1)
    scene.proxy.clear()
    scene.passes(2)
    scene.require_equal_sums()


def test_an_entry_that_fills_further_is_known_with_all_of_it(scene: Scene) -> None:
    """The look-up shows the order ended with half of its quantity; the other half is listed a moment later."""
    scene.reconcile()
    identity = scene.signal("ETHUSDT")

    def half(row: Row) -> None:
        if row["orderLinkId"].startswith("ta-e-"):
            row |= {"cumExecQty": "0.01", "orderStatus": "Cancelled"}

    scene.proxy.each_row(OPEN_ORDERS, half)
    scene.proxy.each_row(ORDER_HISTORY, half)
    scene.submit()
    scene.proxy.clear()
    scene.passes(2)
    assert Decimal(scene.intent(identity)["filled_qty"]) == scene.size("ETHUSDT") == Decimal("0.03")
    assert scene.reconcile().differences == []


def test_the_daily_loss_counts_what_a_growing_closing_adds(make_scene: Callable[..., Scene]) -> None:
    """The first state of the row is a small loss, its last one more than a day may lose."""
    scene = make_scene(**ROOMY)
    (identity,) = scene.enter("ETHUSDT")
    size = scene.size("ETHUSDT")
    scene.later()
    _show_half_of_the_closing(scene, "ETHUSDT", size)
    scene.passes(1)
    scene.proxy.clear()
    scene.proxy.each_row(CLOSED, lambda row: row.update(closedPnl="-600"))
    scene.passes(2)
    assert sum(Decimal(row["pnl"]) for row in scene.closings(identity)) == -600
    assert "HALTED" in scene.states()


@pytest.mark.parametrize("lie", [Proxy.twice, Proxy.overlapping_pages])
@pytest.mark.parametrize("path", WITH_ROWS_OF_OURS)
def test_rows_that_come_twice_are_one_row(scene: Scene, path: str, lie: Callable[[Proxy, str], None]) -> None:
    eth, sol = scene.enter("ETHUSDT", "SOLUSDT")
    scene.order("ADAUSDT", "Buy", "100", orderType="Limit", price="0.2", timeInForce="GTC")
    scene.later()
    scene.close_by_hand("ETHUSDT")
    lie(scene.proxy, path)
    scene.passes(2)
    scene.proxy.clear()
    scene.passes(1)
    scene.require_equal_sums()
    assert scene.intent(eth)["status"] == "closed" and scene.is_ours(sol)
    assert len(scene.rows("SELECT * FROM positions")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("path", [CLOSED, EXECUTIONS])
def test_what_the_lists_never_show_is_missed_by_the_sums(scene: Scene, path: str) -> None:
    """A person's trade that a list keeps back for good: the wallet has moved, the books have not."""
    scene.enter("ETHUSDT")
    scene.later()
    scene.order("ADAUSDT", "Buy", "2000")
    scene.later()
    scene.close_by_hand("ADAUSDT")
    scene.proxy.each_row(path, lambda row: row["symbol"] != "ADAUSDT")
    reports = scene.passes(3, seconds=600)
    assert reports[-1].differences, "the sums do not agree, and nobody is told"
    assert scene.hears("differ")


def test_books_without_faults_have_no_remainder(scene: Scene) -> None:
    scene.enter("ETHUSDT", "SOLUSDT")
    scene.later(9 * 3600)  # a funding payment lies in it
    scene.close_by_hand("ETHUSDT")
    reports = scene.passes(2)
    scene.require_equal_sums()
    assert [report.differences for report in reports] == [[], []] and not scene.hears("differ")


def _moved(scene: Scene, kind: str, usdt: int) -> None:
    """The account has been given or has lost money by something else than trade."""
    now = scene.now_ms()
    row = {
        "id": f"moved-{kind}-{now}",
        "symbol": "",
        "category": "",
        "side": "None",
        "type": kind,
        "transSubType": "",
        "currency": "USDT",
        "transactionTime": str(now),
        "cashFlow": str(usdt),
        "change": str(usdt),
        "cashBalance": "0",
        "fee": "",
        "funding": "",
        "qty": "",
        "size": "",
        "tradePrice": "",
        "tradeId": "",
        "orderId": "",
        "orderLinkId": "",
        "feeRate": "",
        "bonusChange": "",
        "extraFees": "",
    }

    def listed(request: Request, answer: Answer) -> None:
        start, end = int(request.params.get("startTime", 0)), int(request.params.get("endTime", now))
        if start <= now <= end and not request.params.get("cursor"):
            answer["result"]["list"].append(row)

    def held(row: Row) -> None:
        for name in ("totalEquity", "totalWalletBalance", "totalMarginBalance", "totalAvailableBalance"):
            row[name] = str(Decimal(row[name]) + usdt)
        for coin in row["coin"]:
            if coin["coin"] == "USDT":
                for name in ("equity", "usdValue", "walletBalance"):
                    coin[name] = str(Decimal(coin[name]) + usdt)

    scene.proxy.rewrite(MONEY_LOG, listed)
    scene.proxy.each_row(WALLET, held)


@pytest.mark.parametrize("kind", ["TRANSFER_OUT", "WITHDRAW"])
def test_a_withdrawal_is_no_drawdown(scene: Scene, kind: str) -> None:
    scene.enter("ETHUSDT")
    scene.later()
    _moved(scene, kind, -3000)
    scene.passes(3)
    assert scene.states() == []
    identity = scene.signal("SOLUSDT")
    assert identity in scene.submit().executed


def test_money_that_came_and_went_leaves_no_drawdown(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    scene.later()
    _moved(scene, "TRANSFER_IN", 20_000)
    scene.passes(2)
    _moved(scene, "TRANSFER_OUT", -20_000)
    scene.passes(2)
    assert scene.states() == []


def test_a_deposit_hides_no_drawdown(make_scene: Callable[..., Scene]) -> None:
    """10 % lost, as much paid in as there was, 18 % of all that lost: 22 % of the peak that the deposit has moved."""
    scene = make_scene(**ROOMY, max_daily_loss_pct=100)
    scene.reconcile()

    def lose(share: str) -> None:
        def fallen(row: Row) -> None:
            row["totalEquity"] = str(Decimal(row["totalEquity"]) * (1 - Decimal(share)))

        scene.proxy.each_row(WALLET, fallen)

    lose("0.10")
    scene.passes(1)
    _moved(scene, "TRANSFER_IN", 10_000)
    scene.passes(1)
    assert scene.states() == []
    lose("0.18")
    scene.passes(1)
    assert scene.states() == ["HALTED"]
