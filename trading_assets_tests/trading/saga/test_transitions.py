"""The transitions of an order intent: no others are possible, each leads to an end, and the page shows them."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_assets.core.models import Side
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.orders import Intent
from trading_assets.ledger.tables import order_events
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.saga import transitions
from trading_assets.trading.saga.transitions import STATES, IllegalTransitionError, Step
from trading_assets_tests.trading.fixtures import NOW_MS, add_signal, harness_on

PAGE = Path(__file__).parents[3] / "docs" / "order_saga.md"

_PAIRS = [(before, after) for before in STATES for after in STATES]


def reserved(database: Database, account: str) -> Intent:
    identity = add_signal(database, account=account)
    numbers = (Decimal(1), Decimal(98), Decimal(104), Decimal(10))
    intent = Intent(f"l-{account}", identity, account, "BTCUSDT", Side.BUY, *numbers, orders.INTENT, None, NOW_MS, 0)
    assert orders.reserve(database, intent, max_open=10, wall_ms=0)
    return intent


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [pair for pair in _PAIRS if pair[1] not in STATES[pair[0]].following])
def test_a_transition_that_the_table_lacks_raises_and_writes_nothing(sqlite: Database, before: str, after: str) -> None:
    intent = reserved(sqlite, f"{before}-{after}")
    for state in _way_to(before):
        moved = transitions.advance(sqlite, intent, state, now_ms=NOW_MS, wall_ms=1)
        assert moved is not None
        intent = moved
    with pytest.raises(IllegalTransitionError, match=f"from '{before}' to '{after}'"):
        transitions.advance(sqlite, intent, after, now_ms=NOW_MS, wall_ms=2)
    with sqlite.read() as connection:
        written = sa.select(order_events.c.status).where(order_events.c.order_link_id == intent.order_link_id)
        assert connection.execute(written).scalars().all() == [orders.INTENT, *_way_to(before)]


def _way_to(state: str) -> list[str]:
    ways: dict[str, list[str]] = {orders.INTENT: []}
    waiting = [orders.INTENT]
    while waiting:
        here = waiting.pop(0)
        for after in STATES[here].following:
            if after not in ways:
                ways[after] = [*ways[here], after]
                waiting.append(after)
    return ways[state]


def test_every_state_can_be_reached_and_can_come_to_an_end() -> None:
    assert {_way_to(state)[-1] if _way_to(state) else state for state in STATES} == set(STATES)
    assert STATES[orders.CLOSED].following.keys() == {orders.CONFIRMED}, "the way back that a person has"
    for state in orders.UNRESOLVED:
        gone = orders.ENDED if state == orders.RESTING else orders.ABANDONED
        assert {orders.CONFIRMED, orders.REJECTED, gone} <= set(STATES[state].following)


def test_unresolved_states_keep_their_symbol_and_only_an_open_position_beside_them() -> None:
    assert {state for state, rule in STATES.items() if rule.occupies} == {*orders.UNRESOLVED, orders.CONFIRMED}


def test_an_order_goes_through_the_steps_in_the_order_of_the_table(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    harness.exchange.attaches_stops = False
    add_signal(sqlite)
    points: list[str] = []
    submit_orders(replace(harness.context, at=points.append))
    taken = [point.removeprefix("before ") for point in points if point.startswith("before ")]
    of_plans = [Step.DECIDE, Step.TIGHTEN, Step.PART, Step.LEAVE, Step.CLEAR]
    others = [Step.EXIT, Step.FOLLOW, Step.AMEND, Step.CANCEL, *of_plans]
    assert taken == [step for step in Step if step not in others]
    assert len(points) == 2 * len(taken)


def test_the_page_shows_every_step_in_sequence_and_the_table_of_states() -> None:
    page = PAGE.read_text()
    steps = page[page.index("## Steps") : page.index("## States")]
    assert re.findall(r"^\| `(\w+)` \|", steps, re.M) == list(Step)
    assert transitions.states_table() in page
