"""Kind 6: of every fill and closing at most our quantity on our side is ours; the rest is a person's."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from trading_assets_tests.wild_account.proxy import CLOSED, Row
from trading_assets_tests.wild_account.scene import ROOMY, Scene


@pytest.fixture
def ours(roomy: Scene) -> tuple[Scene, str, Decimal]:
    """A scene with a LONG of ours in ETHUSDT, its signal and its size."""
    (identity,) = roomy.enter("ETHUSDT")
    return roomy, identity, roomy.size("ETHUSDT")


def _foreign_qty(scene: Scene) -> Decimal:
    return sum((Decimal(row["qty"]) for row in scene.closings() if row["signal_id"] is None), Decimal(0))


@pytest.mark.slow
def test_ours_outlives_an_addition_and_a_reduction_by_hand(ours: tuple[Scene, str, Decimal]) -> None:
    """Three times as much is added, once as much is taken: our quantity is still there, protected and closable."""
    scene, identity, size = ours
    stop = scene.stop("ETHUSDT")
    scene.order("ETHUSDT", "Buy", size * 3)
    scene.passes(1)
    scene.order("ETHUSDT", "Sell", size, reduceOnly=True)
    scene.passes(1)
    assert scene.is_ours(identity)
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.passes(1)
    assert scene.stop("ETHUSDT") == stop
    report = scene.flatten()
    assert report.closed == {"ETHUSDT": size} and scene.size("ETHUSDT") == size * 2
    scene.passes(1)
    assert scene.closed_qty(identity) == size
    scene.require_equal_sums()


def test_a_persons_addition_is_told_with_its_quantity(ours: tuple[Scene, str, Decimal]) -> None:
    scene, identity, size = ours
    scene.order("ETHUSDT", "Buy", size * 3)
    (report,) = scene.passes(1)
    assert any(symbol == "ETHUSDT" for symbol, _ in report.differences) and scene.is_ours(identity)
    assert scene.hears("ETHUSDT")


def test_flatten_leaves_what_a_person_has_added(ours: tuple[Scene, str, Decimal]) -> None:
    scene, identity, size = ours
    scene.order("ETHUSDT", "Buy", size)
    scene.passes(1)
    scene.flatten()
    scene.passes(1)
    assert scene.size("ETHUSDT") == size and scene.closed_qty(identity) == size
    assert scene.intent(identity)["status"] == "closed"


@pytest.mark.parametrize("extra", [1, 9])
def test_of_a_closing_of_more_than_ours_ours_is_our_quantity(ours: tuple[Scene, str, Decimal], extra: int) -> None:
    """Added to by hand, all closed by hand in one order: the rest is booked as a person's, and both add up."""
    scene, identity, size = ours
    scene.order("ETHUSDT", "Buy", size * extra)
    scene.passes(1)
    scene.close_by_hand("ETHUSDT")
    scene.passes(2)
    assert scene.intent(identity)["status"] == "closed"
    assert scene.closed_qty(identity) == size and _foreign_qty(scene) == size * extra
    scene.require_equal_sums()


def test_a_stop_that_takes_a_persons_addition_too_is_ours_by_our_quantity(ours: tuple[Scene, str, Decimal]) -> None:
    scene, identity, size = ours
    scene.order("ETHUSDT", "Buy", size * 4)
    scene.passes(1)
    scene.proxy.each_row(CLOSED, lambda row: row.update(closedPnl="-50"))
    tick = scene.tick("ETHUSDT")
    scene.stops_by_hand("ETHUSDT", stop=scene.last_price("ETHUSDT") - tick)
    for _ in range(60):
        scene.later(60)
        if scene.size("ETHUSDT") == 0:
            break
    scene.passes(1)
    assert scene.reasons(identity) == {"stop"} and scene.closed_qty(identity) == size
    assert sum(Decimal(row["pnl"]) for row in scene.closings(identity)) == -10
    assert sum(Decimal(row["pnl"]) for row in scene.closings()) == -50


def test_a_persons_short_after_our_long_is_not_ours(ours: tuple[Scene, str, Decimal]) -> None:
    scene, identity, size = ours
    scene.close_by_hand("ETHUSDT")
    scene.passes(1)
    scene.order("ETHUSDT", "Sell", size)
    scene.passes(1)
    scene.close_by_hand("ETHUSDT")
    scene.passes(1)
    sides = {(row["position_side"], row["signal_id"]) for row in scene.closings()}
    assert sides == {("LONG", identity), ("SHORT", None)}
    assert scene.closed_qty(identity) == size


def test_a_short_between_two_passes_is_not_ours(ours: tuple[Scene, str, Decimal]) -> None:
    """Ours closed, a short opened and closed, all before the books are read again."""
    scene, identity, size = ours
    scene.close_by_hand("ETHUSDT")
    scene.later(1)
    scene.order("ETHUSDT", "Sell", size)
    scene.later(1)
    scene.close_by_hand("ETHUSDT")
    scene.passes(2)
    assert scene.closed_qty(identity) == size and scene.intent(identity)["status"] == "closed"
    assert [row["position_side"] for row in scene.closings() if row["signal_id"] is None] == ["SHORT"]
    scene.require_equal_sums()


def test_a_persons_long_after_ours_is_not_ours(ours: tuple[Scene, str, Decimal]) -> None:
    """The same coin, side and size, a minute after ours was closed."""
    scene, identity, size = ours
    scene.close_by_hand("ETHUSDT")
    scene.passes(1)
    scene.order("ETHUSDT", "Buy", size)
    scene.passes(1)
    assert scene.stop("ETHUSDT") is None
    scene.close_by_hand("ETHUSDT")
    scene.passes(1)
    assert scene.closed_qty(identity) == size and _foreign_qty(scene) == size


def test_a_reversal_by_hand_ends_ours_and_leaves_the_rest(ours: tuple[Scene, str, Decimal]) -> None:
    """One order of three times our size the other way."""
    scene, identity, size = ours
    scene.order("ETHUSDT", "Sell", size * 3)
    scene.passes(2)
    leg = scene.leg("ETHUSDT")
    assert leg is not None and (leg.side, leg.size, leg.stop) == ("Sell", size * 2, None)
    assert scene.intent(identity)["status"] == "closed" and scene.closed_qty(identity) == size
    report = scene.flatten()
    assert report.closed == {} and scene.size("ETHUSDT") == size * 2


def test_two_halves_closed_by_hand_end_ours(ours: tuple[Scene, str, Decimal]) -> None:
    scene, identity, size = ours
    scene.close_by_hand("ETHUSDT", Decimal("0.01"))
    scene.passes(1)
    assert scene.is_ours(identity)
    scene.close_by_hand("ETHUSDT", size - Decimal("0.01"))
    scene.passes(1)
    assert scene.intent(identity)["status"] == "closed" and scene.closed_qty(identity) == size


def test_a_person_who_reduced_before_adding_leaves_us_what_is_left(ours: tuple[Scene, str, Decimal]) -> None:
    """A third of ours is taken, then as much as ours is added: two thirds are ours."""
    scene, identity, size = ours
    scene.close_by_hand("ETHUSDT", Decimal("0.01"))
    scene.passes(1)
    scene.order("ETHUSDT", "Buy", size)
    scene.passes(1)
    assert scene.is_ours(identity)
    scene.flatten()
    scene.passes(1)
    assert scene.size("ETHUSDT") == size and scene.closed_qty(identity) == size


def test_a_resting_reduce_only_order_of_a_person_is_told_and_changes_nothing(ours: tuple[Scene, str, Decimal]) -> None:
    scene, identity, size = ours
    price = scene.last_price("ETHUSDT") * Decimal("1.08") // 1
    scene.order("ETHUSDT", "Sell", size, reduceOnly=True, orderType="Limit", price=f"{price}", timeInForce="GTC")
    (report,) = scene.passes(1)
    assert any(symbol == "ETHUSDT" for symbol, _ in report.differences)
    assert scene.is_ours(identity) and scene.stop("ETHUSDT") is not None


def test_a_persons_losses_pause_nothing_of_ours(make_scene: Callable[..., Scene]) -> None:
    """Four closings of a person's shorts in our coin are none of ours: the coin is not weak."""
    scene = make_scene(**ROOMY)
    (identity,) = scene.enter("ETHUSDT")
    size = scene.size("ETHUSDT")

    def lost(row: Row) -> None:
        row["closedPnl"] = "-5" if row["side"] == "Buy" else "1"

    scene.proxy.each_row(CLOSED, lost)
    scene.close_by_hand("ETHUSDT")
    for _ in range(4):
        scene.later(1)
        scene.order("ETHUSDT", "Sell", size)
        scene.later(1)
        scene.close_by_hand("ETHUSDT")
    scene.passes(2)
    assert scene.closed_qty(identity) == size
    again = scene.signal("ETHUSDT")
    assert again in scene.submit().executed


def test_our_short_beside_a_persons_long_before_it(roomy: Scene) -> None:
    """A person's long was closed before ours was opened the other way: neither closing is the other's."""
    scene = roomy
    scene.reconcile()
    scene.order("ETHUSDT", "Buy", "0.05")
    scene.later(1)
    scene.close_by_hand("ETHUSDT")
    scene.later(1)
    (identity,) = scene.enter("ETHUSDT", long=False)
    size = scene.size("ETHUSDT")
    scene.close_by_hand("ETHUSDT")
    scene.passes(2)
    assert scene.closed_qty(identity) == size and _foreign_qty(scene) == Decimal("0.05")
    assert {row["position_side"] for row in scene.closings(identity)} == {"SHORT"}
