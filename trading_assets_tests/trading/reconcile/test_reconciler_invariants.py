"""Whatever ledger and exchange hold: one pass brings them to agree, the next changes nothing, no failed read does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import Phase, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.core.models import CloseReason, OrderRequest, OrderStatus, Side
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.orders import Intent
from trading_assets.ledger.tables import metadata, order_intents
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.saga import transitions
from trading_assets.trading.saga.recovery import LOST_AFTER_MS
from trading_assets_tests.fakes import FakeExchange, order_link_id
from trading_assets_tests.trading.fixtures import Harness, add_signal, settings, signal_row

D = Decimal
SYMBOLS = ("AUSDT", "BUSDT", "CUSDT")
READS = ("now_ms", "wallet", "positions", "executions", "open_orders", "closed_pnl", "order", "find_order")

_WAYS: Mapping[str, tuple[str, ...]] = {
    orders.INTENT: (),
    orders.SUBMITTED: (orders.SUBMITTED,),
    orders.UNKNOWN: (orders.UNKNOWN,),
    orders.CONFIRMED: (orders.SUBMITTED, orders.CONFIRMED),
    orders.CLOSED: (orders.SUBMITTED, orders.CONFIRMED, orders.CLOSED),
    orders.REJECTED: (orders.REJECTED,),
    orders.ABANDONED: (orders.UNKNOWN, orders.ABANDONED),
}
# An entry at market never waits: the states of one that does have laws of their own, in saga/test_resting.py.
LEDGER = (None, *(state for state in transitions.STATES if state not in (orders.RESTING, orders.ENDED)))


@dataclass(frozen=True)
class Symbol:
    """One symbol on both sides.

    Attributes:
        ledger: state of our intent; None: the ledger has none.
        order: what became of the entry at the exchange; None: it has none.
        ended: how our position ended, None if it did not.
        stop: whether our open position has its stop.
        foreign: what others hold there too: quantity, and whether bought.
        stop_is_refused: the exchange takes no stop: the price is beyond it.
    """

    ledger: str | None
    order: OrderStatus | None
    ended: str | None
    stop: bool
    foreign: tuple[int, bool] | None
    stop_is_refused: bool


_SYMBOL = st.builds(
    Symbol,
    st.sampled_from(LEDGER),
    st.sampled_from([None, OrderStatus.FILLED, OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.NEW]),
    st.sampled_from([None, None, CloseReason.STOP, CloseReason.TARGET, CloseReason.OTHER]),
    st.booleans(),
    st.sampled_from([None, None, None, (1, True), (3, True), (2, False)]),
    st.booleans(),
)


def arranged(database: Database, account: str, wanted: Mapping[str, Symbol]) -> tuple[Harness, dict[str, str]]:
    """Both sides as wanted, all of it old enough that no living process can be at work; our link by symbol."""
    links: dict[str, str] = {}
    harness = Harness(database, FakeExchange(*wanted), settings(account=account))
    exchange = harness.exchange
    exchange.mark = f"{account}-"
    for name, symbol in wanted.items():
        bar = exchange.time_ms - 5_000
        identity = str(signal_row(name, account=account, signal_timestamp_ms=bar)["signal_id"])
        link = links[name] = order_link_id(identity)
        if symbol.ledger is not None:
            add_signal(database, name, account=account, signal_timestamp_ms=bar)
            _record(harness, identity, name, symbol.ledger)
        if symbol.order is not None:
            exchange.leverages[name] = D(10)
            exchange.status_of_new, exchange.attaches_stops = symbol.order, symbol.stop
            exchange.place_order(OrderRequest(name, Side.BUY, D(1), link, D(98), D(104)))
        harness.later(1)
        exchange.status_of_new, exchange.attaches_stops = OrderStatus.FILLED, True
        if symbol.order is OrderStatus.FILLED and symbol.ended is not None:
            exchange.close_position(name, symbol.ended)
        if symbol.foreign is not None:
            harness.later(1)
            exchange.open_foreign(name, Side.BUY if symbol.foreign[1] else Side.SELL, symbol.foreign[0])
        if symbol.stop_is_refused:
            exchange.set_price(name, "97.5")
    harness.later(LOST_AFTER_MS // 1000 + 60)
    return harness, links


def _record(harness: Harness, identity: str, name: str, state: str) -> None:
    numbers = (D(1), D(98), D(104), D(10))
    account, now_ms = harness.settings.account, harness.exchange.time_ms
    intent: Intent | None = Intent(
        order_link_id(identity), identity, account, name, Side.BUY, *numbers, orders.INTENT, None, now_ms, harness.wall
    )
    assert intent is not None
    assert orders.reserve(harness.database, intent, max_open=10, wall_ms=harness.wall)
    for step in _WAYS[state]:
        filled = {"filled_qty": D(1), "average_price": D(100)} if step == orders.CONFIRMED else {}
        assert intent is not None
        intent = transitions.advance(harness.database, intent, step, now_ms=now_ms, wall_ms=harness.wall, **filled)


def contents(database: Database, account: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the account, but for the passes themselves."""
    found = {}
    with database.read() as connection:
        for name, table in metadata.tables.items():
            if "account" in table.c and name != "reconciliations":
                rows = connection.execute(sa.select(table).where(table.c.account == account)).all()
                found[name] = sorted(map(tuple, rows), key=repr)
    return found


def at_exchange(exchange: FakeExchange) -> tuple[object, ...]:
    return dict(exchange.open), dict(exchange.book), list(exchange.trades), exchange.balance


_examples = hypothesis_settings(
    max_examples=25,
    phases=(Phase.explicit, Phase.generate),
)
_numbers = iter(range(10**6))


@pytest.mark.slow
@given(st.tuples(*(_SYMBOL for _ in SYMBOLS)))
@_examples
def test_one_pass_brings_ledger_and_exchange_to_agree_and_a_second_does_nothing(
    sqlite: Database, symbols: tuple[Symbol, ...]
) -> None:
    wanted = dict(zip(SYMBOLS, symbols, strict=True))
    harness, links = arranged(sqlite, f"a{next(_numbers)}", wanted)
    exchange, account = harness.exchange, harness.settings.account
    foreign = {name: exchange.open.get(name) for name, symbol in wanted.items() if _is_foreign(symbol)}
    first = reconcile(harness.context)
    _require_agreement(harness, wanted, links)
    for name, position in foreign.items():
        assert exchange.open.get(name) == position, "what is not ours is left alone"
        assert name in {symbol for symbol, _ in first.differences}
    ledger, venue, told = contents(sqlite, account), at_exchange(exchange), len(harness.told)
    again = reconcile(harness.context)
    assert (again.recovered, again.new_fills, again.new_closings, again.repaired) == (0, 0, [], [])
    assert (contents(sqlite, account), at_exchange(exchange), len(harness.told)) == (ledger, venue, told)


def _is_foreign(symbol: Symbol) -> bool:
    """Whether what is open there can only be somebody else's: nothing of ours was, or it was closed."""
    if symbol.foreign is None:
        return False
    if symbol.order is OrderStatus.FILLED:
        return symbol.ended is not None
    return symbol.ledger not in (orders.CONFIRMED, *orders.UNRESOLVED)


def _require_agreement(harness: Harness, wanted: Mapping[str, Symbol], links: Mapping[str, str]) -> None:
    """Each order of ours has its end in the ledger, each position of ours its stop, and each its symbol."""
    exchange, account = harness.exchange, harness.settings.account
    with harness.database.read() as connection:
        intents = {row.symbol: row for row in orders.by_links(connection, account, links.values()).values()}
        occupying = {row.symbol for row in orders.occupying(connection, account)}
    for name, symbol in wanted.items():
        intent, position = intents.get(name), exchange.open.get(name)
        if intent is None:
            continue
        if symbol.order is OrderStatus.FILLED:
            assert intent.status in (orders.CONFIRMED, orders.CLOSED), (name, symbol, intent)
        if symbol.order is OrderStatus.FILLED and symbol.ended is None:
            reversed_by_hand = symbol.foreign is not None and not symbol.foreign[1]
            # Where the price is beyond the stop, it may have been closed at once.
            # A mistaken end in the ledger has a way back by a person alone.
            if not (symbol.stop_is_refused or reversed_by_hand or symbol.ledger == orders.CLOSED):
                assert intent.status == orders.CONFIRMED
                assert position is not None
                assert position.stop_loss is not None
        elif symbol.order is OrderStatus.FILLED:
            assert intent.status == orders.CLOSED, "closings add up to it"
        elif intent.status == orders.CONFIRMED and position is None:
            assert intent.unseen_since_ms is not None, "absence is no evidence: it stays, and is asked for again"
        assert (name in occupying) == (intent.status in (*orders.UNRESOLVED, orders.CONFIRMED))
        if intent.status in orders.UNRESOLVED:
            assert symbol.order is OrderStatus.NEW or position is not None, "nothing there tells what became of it"


@pytest.mark.slow
@given(st.tuples(*(_SYMBOL for _ in SYMBOLS)), st.sampled_from(READS), st.integers(0, 1))
@example(
    # The last one's order cannot be looked up in the pass that books its closing.
    (
        Symbol("confirmed", OrderStatus.NEW, CloseReason.TARGET, True, (2, False), False),
        Symbol("intent", OrderStatus.FILLED, CloseReason.TARGET, True, (3, True), True),
        Symbol("intent", OrderStatus.FILLED, CloseReason.TARGET, True, (3, True), True),
    ),
    "find_order",
    1,
)
@_examples
def test_a_read_that_fails_changes_nothing_and_the_next_pass_ends_as_if_it_had_not(
    sqlite: Database, symbols: tuple[Symbol, ...], method: str, skip: int
) -> None:
    wanted = dict(zip(SYMBOLS, symbols, strict=True))
    harness, _ = arranged(sqlite, f"b{next(_numbers)}", wanted)
    twin, _ = arranged(sqlite, f"c{next(_numbers)}", wanted)
    exchange = harness.exchange
    before = contents(sqlite, harness.settings.account), at_exchange(exchange)
    exchange.fail(method, ExchangeUnavailableError("502"), skip=skip, times=99)
    try:
        reconcile(harness.context)
    except ExchangeUnavailableError:
        if skip == 0 and method != "order":  # asked first when what was repaired is read again
            assert (contents(sqlite, harness.settings.account), at_exchange(exchange)) == before
    exchange.heal()
    for each in (harness, twin):
        each.later(60)
        reconcile(each.context)
    assert _ends(harness) == _ends(twin)


def _ends(harness: Harness) -> tuple[object, ...]:
    """What a trader sees of both sides, without ids and times."""
    with harness.database.read() as connection:
        table = order_intents
        rows = connection.execute(
            sa.select(table.c.symbol, table.c.status, table.c.filled_qty, table.c.open_slot.is_not(None))
            .where(table.c.account == harness.settings.account)
            .order_by(table.c.symbol)
        ).all()
    held = {name: (each.side, each.size, each.stop_loss) for name, each in harness.exchange.open.items()}
    return [tuple(row) for row in rows], held, len(harness.exchange.trades)
