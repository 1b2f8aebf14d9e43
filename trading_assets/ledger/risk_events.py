"""Episodes of what is wrong with an account: each is told once, while it lasts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from trading_assets.ledger.tables import (
    risk_events,
)

GONE = "gone"
"""Detail of the event that ends an episode: the same text after it is told again."""


def record_episodes(
    connection: sa.Connection, account: str, kind: str, texts: Mapping[str | None, str], time_ms: int
) -> list[str]:
    """Keep what holds now of a kind, by symbol, and end what holds no more. Return the texts that are new."""
    fresh = [text for symbol, text in texts.items() if add_risk_event(connection, account, kind, symbol, text, time_ms)]
    end_risk_events(connection, account, kind, set(texts), time_ms)
    return fresh


def add_risk_event(
    connection: sa.Connection, account: str, kind: str, symbol: str | None, detail: str, time_ms: int
) -> bool:
    """Add an event, unless the newest of its kind and symbol has the same detail. Return whether it was added."""
    newest = connection.execute(
        sa.select(risk_events.c.detail)
        .where(
            risk_events.c.account == account,
            risk_events.c.kind == kind,
            risk_events.c.symbol == symbol,
        )
        .order_by(risk_events.c.event_id.desc())
        .limit(1)
    ).scalar_one_or_none()
    if newest == detail:
        return False
    connection.execute(
        sa.insert(risk_events).values(account=account, kind=kind, symbol=symbol, detail=detail, time_ms=time_ms)
    )
    return True


def end_risk_events(
    connection: sa.Connection, account: str, kind: str, still: Collection[str | None], time_ms: int
) -> None:
    """End the episodes of a kind whose symbols are not among `still`: what comes back after this is told again."""
    for symbol in open_risk_events(connection, account, kind):
        if symbol not in still:
            add_risk_event(connection, account, kind, symbol, GONE, time_ms)


def open_risk_events(connection: sa.Connection, account: str, kind: str) -> dict[str | None, str]:
    """Return the details of the episodes of a kind that have not ended, by symbol."""
    newest = (
        sa.select(sa.func.max(risk_events.c.event_id))
        .where(risk_events.c.account == account, risk_events.c.kind == kind)
        .group_by(risk_events.c.symbol)
    )
    statement = sa.select(risk_events.c.symbol, risk_events.c.detail).where(
        risk_events.c.event_id.in_(newest), risk_events.c.detail != GONE
    )
    return {row.symbol: row.detail for row in connection.execute(statement)}
