"""The account's journal: what people were told, what they commanded, how the risk guard's state changed; and the way of
one order."""

from __future__ import annotations

from dataclasses import dataclass

from trading_assets.core.timeframes import iso
from trading_assets.ledger import chat, outbox, risk, tracing
from trading_assets.ledger.database import Database
from trading_assets.service.chat_commands import shown_text


@dataclass(frozen=True)
class Entry:
    """A line. `wall_ms`: local clock; of a change of state and of an order the venue's."""

    wall_ms: int
    source: str
    who: str
    text: str


def newest(database: Database, account: str, limit: int) -> list[Entry]:
    """Return the newest entries, the newest last."""
    found = [
        Entry(one.written_wall_ms, one.message.kind.value, "", f"{one.message.title}: {one.message.body}")
        for one in outbox.newest(database, account, limit)
    ]
    found += [
        Entry(one.received_wall_ms, "chat", one.actor, f"{shown_text(one.text, is_button=one.is_button)} ({one.state})")
        for one in chat.newest(database, account, limit)
    ]
    found += [
        Entry(one.time_ms, "state", one.actor, f"{one.state.value}: {one.reason}")
        for one in risk.read_history(database, account)[-limit:]
    ]
    return sorted(found, key=lambda one: one.wall_ms)[-limit:]


def of_order(database: Database, text: str) -> list[Entry]:
    """Return one order's way by the venue's time: its signal, each state, fills and closings.

    Args:
        text: its trace id, or what `tracing.find_signal` knows it by.

    Raises:
        DataError: there is none, or several begin so.
    """
    signal_id = tracing.find_signal(database, text)
    with database.read() as connection:
        found = tracing.outcome(connection, signal_id)
    signal = found.signal
    what = f"{signal['position_type']} {signal['symbol']} {signal['timeframe']}"
    closed = f"on the candle that closed {iso(signal['signal_timestamp_ms'])}"
    lines = [Entry(signal["created_at_ms"], "signal", signal["strategy"], f"{what} {closed}")]
    lines += [
        Entry(row["time_ms"], "order", "", row["status"] + (f": {row['detail']}" if row["detail"] else ""))
        for row in found.events
    ]
    lines += [
        Entry(row["time_ms"], "fill", row["side"], f"{row['qty']} at {row['price']}, fee {row['fee']}")
        for row in (*found.entries, *found.exits)
    ]
    lines += [
        Entry(
            row["closed_ms"],
            "closing",
            "",
            f"{row['qty']} at {row['exit_price']} by its {row['reason']}, PnL {row['pnl']:+f}",
        )
        for row in found.closings
    ]
    return sorted(lines, key=lambda one: one.wall_ms)
