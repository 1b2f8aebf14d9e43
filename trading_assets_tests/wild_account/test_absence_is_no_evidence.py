"""Kind 1: an intent ends only with evidence; an empty or late answer is none."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets_tests.wild_account.proxy import (
    CLOSED,
    EVERY_LIST,
    EXECUTIONS,
    INSTRUMENTS,
    OPEN_ORDERS,
    ORDER_HISTORY,
    POSITIONS,
    STOPS,
    WALLET,
    Row,
)
from trading_assets_tests.wild_account.scene import Console, Scene, attempt

COINS = ("ETHUSDT", "SOLUSDT")


def _require_ours_and_whole(scene: Scene, identities: list[str]) -> None:
    """The positions are ours, a lost stop comes back, and `flatten` closes them all."""
    assert all(scene.is_ours(identity) for identity in identities)
    report = scene.reconcile()
    assert not any("not by this system" in text for _, text in report.differences)
    before = scene.stop("ETHUSDT")
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.passes(1)
    assert scene.stop("ETHUSDT") == before is not None
    assert set(scene.flatten().closed) == set(COINS) and scene.legs() == []
    scene.passes(1)
    scene.require_equal_sums()
    assert all(scene.intent(identity)["status"] == "closed" for identity in identities)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 3])
def test_positions_of_ours_survive_an_empty_position_list(scene: Scene, times: int) -> None:
    identities = scene.enter(*COINS)
    scene.later()
    scene.proxy.empty(POSITIONS)
    scene.passes(times)
    scene.proxy.clear()
    _require_ours_and_whole(scene, identities)


@pytest.mark.parametrize("path", EVERY_LIST)
def test_positions_of_ours_survive_any_one_list_empty_or_late(scene: Scene, path: str) -> None:
    identities = scene.enter(*COINS)
    for lie in (scene.proxy.empty, scene.proxy.late):
        scene.later()
        lie(path)
        scene.try_passes(2)
        scene.proxy.clear()
        assert all(scene.is_ours(identity) for identity in identities)
    _require_ours_and_whole(scene, identities)


def test_positions_that_the_list_does_not_show_yet_stay_ours(scene: Scene) -> None:
    """The list is late by the entry: an answer from before it."""
    scene.reconcile()
    identities = [scene.signal(symbol) for symbol in COINS]
    scene.proxy.late(POSITIONS)
    attempt(scene.submit)
    scene.try_passes(3, seconds=5)
    scene.proxy.clear()
    scene.passes(2)
    _require_ours_and_whole(scene, identities)


def test_no_stop_is_set_while_the_position_is_unseen(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    scene.proxy.empty(POSITIONS)
    before = scene.proxy.asked(STOPS)
    scene.try_passes(3)
    assert scene.proxy.asked(STOPS) == before


def test_a_stop_lost_behind_an_empty_list_comes_back(scene: Scene) -> None:
    (identity,) = scene.enter("ETHUSDT")
    before = scene.stop("ETHUSDT")
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.proxy.empty(POSITIONS)
    scene.try_passes(2)
    scene.proxy.clear()
    scene.passes(1)
    assert scene.is_ours(identity) and scene.stop("ETHUSDT") == before


@pytest.mark.parametrize("lists", [(CLOSED,), (CLOSED, EXECUTIONS)])
def test_a_closing_that_is_told_late_is_waited_for(scene: Scene, lists: tuple[str, ...]) -> None:
    """The position has gone, what closed it is not listed yet: the place is kept until the result can be booked."""
    (identity,) = scene.enter("ETHUSDT")
    scene.later()
    scene.proxy.late(*lists)
    scene.close_by_hand("ETHUSDT")
    scene.passes(2)
    if lists == (CLOSED, EXECUTIONS):
        assert scene.intent(identity)["open_slot"] is not None, "nothing tells that it was closed"
    again = scene.signal("ETHUSDT")
    scene.proxy.clear()
    scene.passes(2)
    scene.require_equal_sums()
    assert scene.intent(identity)["status"] == "closed"
    assert scene.closed_qty(identity) == Decimal(scene.intent(identity)["filled_qty"])
    assert scene.signal_status(again) == "active"


def test_a_stop_that_is_told_late_still_keeps_the_coin_shut(scene: Scene) -> None:
    """Position gone, closing not listed: an entry in that coin now would break the pause after its stop."""
    scene.enter("ETHUSDT")
    scene.later()
    scene.proxy.late(CLOSED, EXECUTIONS)
    scene.close_by_hand("ETHUSDT")
    scene.passes(1)
    again = scene.signal("ETHUSDT")
    scene.submit()
    assert scene.signal_status(again) != "executed" and scene.size("ETHUSDT") == 0


def test_a_persons_later_position_gets_no_stop_of_ours(scene: Scene) -> None:
    """Ours was closed by hand, the histories are late, and a person has three times as much of the coin without a
    stop."""
    (identity,) = scene.enter("ETHUSDT")
    size = scene.size("ETHUSDT")
    scene.later()
    scene.proxy.late(CLOSED, EXECUTIONS)
    scene.close_by_hand("ETHUSDT")
    scene.passes(1)
    scene.order("ETHUSDT", "Buy", size * 3)
    scene.passes(2)
    assert scene.stop("ETHUSDT") is None, "it is a person's"
    scene.proxy.clear()
    scene.passes(2)
    assert scene.stop("ETHUSDT") is None and scene.size("ETHUSDT") == size * 3
    assert scene.intent(identity)["status"] == "closed" and scene.closed_qty(identity) == size


def test_flatten_does_not_believe_one_empty_list(scene: Scene) -> None:
    scene.enter(*COINS)
    scene.proxy.empty(POSITIONS, times=1)
    report = scene.flatten()
    assert scene.legs() == [] or set(report.left) == set(COINS)


def test_flatten_does_not_say_that_it_closed_nothing_while_the_list_stays_empty(scene: Scene) -> None:
    scene.enter(*COINS)
    scene.proxy.empty(POSITIONS)
    attempt(scene.flatten)
    assert scene.legs() == [] or scene.hears("could not all be closed")


def test_an_order_that_no_list_shows_is_not_freed_while_lists_are_late(scene: Scene) -> None:
    """Late lists for 45 s after a lost answer: the coin is entered once, whatever is thought of the order."""
    scene.reconcile()
    first = scene.signal("ETHUSDT")
    scene.proxy.late(POSITIONS, EXECUTIONS)
    scene.proxy.empty(OPEN_ORDERS, ORDER_HISTORY)
    scene.proxy.lose("/v5/order/create", processed=True, times=1)
    scene.submit()
    scene.try_passes(3, seconds=15)
    second = scene.signal("ETHUSDT")
    attempt(scene.submit)
    scene.proxy.clear()
    scene.passes(3)
    assert len(scene.orders_of_ours("ETHUSDT")) == 1, "the coin was entered twice"
    assert scene.is_ours(first) and scene.signal_status(second) != "executed"


def test_an_empty_wallet_changes_nothing(scene: Scene) -> None:
    (identity,) = scene.enter("ETHUSDT")
    before = scene.equities()
    scene.proxy.empty(WALLET)
    scene.try_passes(2)
    scene.signal("SOLUSDT")
    attempt(scene.submit)
    assert scene.equities() == before and scene.states() == [] and scene.is_ours(identity)
    assert scene.size("SOLUSDT") == 0, "nothing is opened on an account that cannot be read"


def test_executions_that_vanish_for_a_moment_are_neither_lost_nor_doubled(scene: Scene) -> None:
    scene.enter("ETHUSDT")
    scene.close_by_hand("ETHUSDT")
    scene.proxy.empty(EXECUTIONS)
    scene.try_passes(2)
    scene.proxy.clear()
    scene.passes(2)
    scene.require_equal_sums()


def test_half_a_position_list_frees_nobody(scene: Scene) -> None:
    """One of two positions is missing from the list."""
    eth, sol = scene.enter(*COINS)

    def without_eth(row: Row) -> bool:
        return row["symbol"] != "ETHUSDT"

    scene.proxy.each_row(POSITIONS, without_eth)
    scene.try_passes(2)
    scene.proxy.clear()
    assert scene.is_ours(eth) and scene.is_ours(sol)
    _require_ours_and_whole(scene, [eth, sol])


def test_without_evidence_for_long_a_person_is_asked(scene: Scene, console: Console) -> None:
    (identity,) = scene.enter("ETHUSDT")
    scene.proxy.empty(POSITIONS)
    scene.try_passes(26, seconds=3600)
    assert scene.intent(identity)["open_slot"] is not None, "never silently freed"
    assert scene.hears("ETHUSDT")
    assert "ethusdt" in console.text("intents", "list")
    result = console.run("intents", "resolve", scene.intent(identity)["order_link_id"], "closed", "--yes")
    assert result.exit_code == 0
    assert scene.intent(identity)["status"] == "closed" and scene.intent(identity)["open_slot"] is None


def test_a_mistaken_end_has_a_way_back(scene: Scene, console: Console) -> None:
    """As an earlier version may have left it: closed in the ledger without any closing, open at the exchange."""
    (identity,) = scene.enter("ETHUSDT")
    scene.execute("UPDATE order_intents SET status = 'closed', open_slot = NULL WHERE signal_id = :s", s=identity)
    scene.passes(1)
    if not scene.is_ours(identity):
        link = scene.intent(identity)["order_link_id"]
        assert console.run("intents", "resolve", link, "confirmed", "--yes").exit_code == 0
    assert scene.is_ours(identity)
    scene.stops_by_hand("ETHUSDT", stop=0, target=0)
    scene.passes(1)
    assert scene.stop("ETHUSDT") is not None


def test_an_empty_list_of_positions_keeps_no_new_process_from_the_books(scene: Scene) -> None:
    """Who begins asks whose the key is, and how the account is set up: an empty list does not tell the mode."""
    (identity,) = scene.enter("ETHUSDT")
    scene.close_by_hand("ETHUSDT")
    scene.proxy.empty(POSITIONS)
    scene.restart()
    scene.passes(2)
    assert scene.intent(identity)["status"] == "closed", "its closing is told"
    scene.proxy.clear()
    again = scene.signal("SOLUSDT")
    assert again in scene.submit().executed


def test_an_unseen_position_is_neither_entered_again_nor_freed_by_restarts(scene: Scene) -> None:
    (identity,) = scene.enter("ETHUSDT")
    scene.proxy.empty(POSITIONS)
    for _ in range(3):
        scene.restart()
        scene.passes(1)
    again = scene.signal("ETHUSDT")
    attempt(scene.submit)
    assert scene.signal_status(again) != "executed" and scene.is_ours(identity)


def test_an_empty_list_of_contracts_ends_no_signal(scene: Scene) -> None:
    """A new process, whose first list of contracts is empty."""
    scene.reconcile()
    identity = scene.signal("ETHUSDT")
    scene.proxy.empty(INSTRUMENTS, times=1)
    attempt(scene.submit)
    assert scene.signal_status(identity) == "active"
    scene.later(5)
    assert scene.submit().executed == [identity]


def test_an_empty_list_of_contracts_takes_none_of_those_that_were_known(scene: Scene) -> None:
    """Rules are read again after ten minutes: an empty answer then is no list."""
    scene.enter("ETHUSDT")
    scene.later(1200)
    identity = scene.signal("SOLUSDT")
    scene.proxy.empty(INSTRUMENTS)
    assert scene.submit().executed == [identity]
