"""Laws of the reconciler where lists are empty or late, and a person trades beside us: it loses no position of ours on
the way, books of every closing our part alone, and agrees with the exchange once answers are truthful again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.models import OrderRequest, Rows, Side
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.fakes import FakeExchange, order_link_id
from trading_assets_tests.trading.fixtures import Harness, add_signal, settings

D = Decimal
SYMBOL = "AUSDT"
LISTS = ("positions", "executions", "closed_pnl", "open_orders")
LEG = f"{SYMBOL} short leg"
_numbers = iter(range(10**6))


class LyingExchange(FakeExchange):
    """Lists answer truthfully, are empty, or stay as they were when they were truthful last."""

    def __init__(self, *symbols: str) -> None:
        super().__init__(*symbols)
        self.lies: dict[str, str] = {}
        self._before: dict[str, list[Any]] = {}

    def _rows(self, name: str, rows: Callable[[], Iterable[object]]) -> Rows[Any]:
        lie = self.lies.get(name)
        if lie is None:
            told = super()._rows(name, rows)
            self._before[name] = list(told)
            return told
        return Rows(self._before.get(name, []) if lie == "late" else [])


@dataclass(frozen=True)
class Act:
    """A person adds to the position, or takes from it; then the books are read while some lists lie."""

    added: int
    lies: dict[str, str]


_ACTS = st.lists(
    st.builds(Act, st.integers(-4, 3), st.dictionaries(st.sampled_from(LISTS), st.sampled_from(["late", "empty"]))),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@given(_ACTS, st.booleans())
@hypothesis_settings(max_examples=40, phases=(Phase.explicit, Phase.generate, Phase.shrink), deadline=None)
def test_nothing_of_ours_is_lost_on_the_way_and_the_end_is_the_truth(
    sqlite: Database, acts: list[Act], has_a_leg: bool
) -> None:
    account = f"lag{next(_numbers)}"
    exchange = LyingExchange(SYMBOL)
    harness = Harness(sqlite, exchange, settings(account=account))
    exchange.mark = f"{account}-"
    identity = add_signal(sqlite, SYMBOL, account=account)
    assert submit_orders(harness.context).executed == [identity]
    if has_a_leg:  # of a person in hedge mode, as an exchange may show it beside ours
        short = replace(exchange.open[SYMBOL], side=Side.SELL, position_idx=2, stop_loss=None)
        exchange.open[LEG] = short
    harness.later()
    reconcile(harness.context)
    size = exchange.open[SYMBOL].size
    ours, foreign, closed, is_hidden = size, D(0), D(0), False
    for act in acts:
        harness.later()
        held = exchange.open.get(SYMBOL)
        if act.added > 0:
            exchange.open_foreign(SYMBOL, Side.BUY, act.added)
            foreign += act.added
            is_hidden = True
        elif act.added < 0 and held is not None:
            taken = min(held.size, -act.added * size / 4)
            exchange._fill(OrderRequest(SYMBOL, Side.SELL, taken, "", reduce_only=True))
            of_ours = min(ours, max(taken - foreign, D(0)))
            foreign, ours, closed = foreign - (taken - of_ours), ours - of_ours, closed + of_ours
        harness.later(1)
        exchange.lies = act.lies
        with suppress(TradingAssetsError):
            reconcile(harness.context)
        if ours > 0 and is_hidden and _status(harness, identity) == orders.CLOSED:
            return  # closings add up to ours and what a person added was never shown: `intents resolve` takes it back
        if ours > 0:
            assert _status(harness, identity) == orders.CONFIRMED, "it is still there"
        is_hidden = is_hidden and "executions" in act.lies
        if has_a_leg:
            assert exchange.open[LEG] == short, "a person's leg"
    exchange.lies = {}
    for _ in range(2):
        harness.later()
        reconcile(harness.context)
    assert _status(harness, identity) == (orders.CONFIRMED if ours > 0 else orders.CLOSED)
    booked = execution_ledger.own_closings(sqlite, account, 0)
    assert sum((one.qty for one in booked), D(0)) == closed
    assert sum(execution_ledger.closing_rows(sqlite, account)["qty"]) == float(
        sum((row.qty for row in exchange.closings), D(0))
    )
    if ours > 0:
        assert exchange.open[SYMBOL].stop_loss is not None


def _status(harness: Harness, identity: str) -> str:
    with harness.database.read() as connection:
        found = orders.by_links(connection, harness.settings.account, [order_link_id(identity)])
    return found[order_link_id(identity)].status
