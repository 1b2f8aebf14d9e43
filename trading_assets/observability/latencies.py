"""How long orders took, and at which price they were filled: histograms of the rows that the ledger keeps for good.

Rows are read once: what is new since the last look is added. All moments are of the venue's clock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.queries import in_parts
from trading_assets.ledger.tables import entry_signals, fills, order_events, order_intents

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
CREATION_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0)
BASIS_POINTS = (-20.0, -10.0, -5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)

STAGES = ("decision", "sending", "acceptance", "fill", "whole")
"""From the candle's close to the decision, to the sending, to the answer, from the sending to the fill; all of it from
the close to the fill."""

_MOST_PENDING = 1000


@dataclass
class Histogram:
    """Counts by upper bound, as Prometheus has them."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Add a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated counts by bound, the last of all."""
        found, total = [], 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class OrderHistograms:
    """Histograms of executed orders, by account. Not safe for threads.

    Attributes:
        stages: seconds by account and one of `STAGES`.
        creation: seconds from the reservation to the answer, by account.
        slippage: how much worse than the signal's price the entry was, basis points, by account.
    """

    def __init__(self) -> None:
        self.stages: dict[tuple[str, str], Histogram] = {}
        self.creation: dict[str, Histogram] = {}
        self.slippage: dict[str, Histogram] = {}
        self._after, self._pending = 0, dict[str, None]()

    def update(self, database: Database) -> None:
        """Add the orders that were executed since the last look.

        Raises:
            StorageError: the ledger cannot be read; nothing was added.
        """
        e = order_events.c
        with database.read() as connection:
            new = connection.execute(
                sa.select(e.event_id, e.order_link_id).where(e.event_id > self._after, e.status == orders.CONFIRMED)
            ).all()
            links = list(dict.fromkeys([*self._pending, *(row.order_link_id for row in new)]))
            found = [row for part in in_parts(links) for row in _orders(connection, part)]
        self._after = max([self._after, *(row.event_id for row in new)])
        filled = {row["link"] for row in found if row["filled"] is not None}
        waiting = [link for link in links if link not in filled]
        self._pending = dict.fromkeys(waiting[-_MOST_PENDING:])
        for row in found:
            if row["filled"] is not None:
                self._observe(row)

    def _observe(self, row: Mapping[str, object]) -> None:
        account = str(row["account"])
        moments = [row[name] for name in ("closed", "decided", "sent", "answered", "filled")]
        closed, decided, sent, answered, filled = (None if one is None else float(str(one)) for one in moments)
        pairs = ((closed, decided), (decided, sent), (sent, answered), (sent, filled), (closed, filled))
        for stage, (start, end) in zip(STAGES, pairs, strict=True):
            _observe(self.stages.setdefault((account, stage), Histogram(SECONDS)), start, end)
        reserved = row["reserved"]
        creation = self.creation.setdefault(account, Histogram(CREATION_SECONDS))
        _observe(creation, None if reserved is None else float(str(reserved)), answered)
        entry, paid = row["entry"], row["paid"]
        if entry and paid:
            worse = (float(str(paid)) / float(str(entry)) - 1) * (1 if row["side"] == "LONG" else -1)
            self.slippage.setdefault(account, Histogram(BASIS_POINTS)).observe(worse * 1e4)


def _observe(histogram: Histogram, start_ms: float | None, end_ms: float | None) -> None:
    if start_ms is not None and end_ms is not None:
        # The clocks of candles and orders are the venue's, read at different moments.
        histogram.observe(max(0.0, end_ms - start_ms) / 1000)


def _orders(connection: sa.Connection, links: Sequence[str]) -> list[dict[str, object]]:
    s, i, e = entry_signals.c, order_intents.c, order_events.c

    def first(status: Sequence[str], name: str) -> sa.ColumnElement[int]:
        return sa.func.min(sa.case((e.status.in_(status), e.time_ms))).label(name)

    first_fill = (
        sa.select(fills.c.order_link_id, sa.func.min(fills.c.time_ms))
        .where(fills.c.order_link_id.in_(links))
        .group_by(fills.c.order_link_id)
    )
    filled = {str(link): moment for link, moment in connection.execute(first_fill)}
    statement = (
        sa.select(
            i.order_link_id.label("link"),
            i.account.label("account"),
            s.position_type.label("side"),
            s.signal_timestamp_ms.label("closed"),
            s.created_at_ms.label("decided"),
            s.entry_price.label("entry"),
            sa.func.coalesce(s.executed_price, sa.cast(i.average_price, sa.Double)).label("paid"),
            first([orders.INTENT], "reserved"),
            first([orders.SUBMITTED], "sent"),
            first([orders.CONFIRMED, orders.RESTING], "answered"),
        )
        .select_from(
            order_intents.join(order_events, e.order_link_id == i.order_link_id).outerjoin(
                entry_signals, s.signal_id == i.signal_id
            )
        )
        .where(i.order_link_id.in_(links))
        .group_by(
            i.order_link_id,
            i.account,
            i.average_price,
            s.executed_price,
            s.position_type,
            s.signal_timestamp_ms,
            s.created_at_ms,
            s.entry_price,
        )
    )
    return [{**row, "filled": filled.get(str(row["link"]))} for row in connection.execute(statement).mappings()]
