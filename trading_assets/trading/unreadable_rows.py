"""Rows of the market's lists that cannot be read: told with their symbol and kind, once an episode. They stop nothing.

An episode is kept in the ledger, so that all processes share it; it ends with a list in which the row can be read. Rows
of the account's own lists are differences of the books: see `reconcile`.
"""

from __future__ import annotations

from collections.abc import Sequence

from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.models import UnreadableRow
from trading_assets.ledger import risk_events
from trading_assets.trading.context import ExecutionContext

_SHOWN = 5


def tell(context: ExecutionContext, kind: str, rows: Sequence[UnreadableRow], now_ms: int) -> None:
    """Tell the rows that are new since the last list of their kind, in one message.

    Args:
        kind: what a row is of: "instrument" or "ticker".
    """
    account, event = context.settings.account, f"unreadable {kind}"
    texts = {row.symbol: f"{row.symbol or 'a contract'}: its {kind} cannot be read: {row.why}"[:500] for row in rows}
    with context.database.read() as connection:
        if not texts and not risk_events.open_risk_events(connection, account, event):
            return
    with context.database.write(one_at_a_time=f"events of {account}") as connection:
        fresh = risk_events.record_episodes(connection, account, event, texts, now_ms)
        told = list[Message]()
        if fresh:
            more = f"; and {len(fresh) - _SHOWN} more" if len(fresh) > _SHOWN else ""
            text = "; ".join(fresh[:_SHOWN]) + f"{more}. The others go on"
            title = f"{kind} cannot be read"
            told.append(context.keep(connection, title, text, Kind.DATA, Severity.WARNING, time_ms=now_ms))
    context.tell(*told)
