"""Entries as the exchange took them: what is put right later was wrong for a while. Reads only."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.core.ports import Exchange
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import entry_signals, order_intents


def sent_otherwise(
    database: Database,
    exchange: Exchange,
    manual: ManualTrader,
    since_ms: int,
    *,
    may_lack_stops: bool,
    sent_bare: Collection[str] = (),
) -> list[str]:
    """Entries filled since then that were not sent as their intent and signal say, in sentences.

    Args:
        sent_bare: those that the exchange took when it forgot stops; one that waited may be filled rounds later.
    """
    rows = exchange.executions(since_ms, exchange.now_ms() + 1)
    links = {row.order_link_id for row in rows if exchange.order_ids.is_entry(row.order_link_id)}
    levels = [entry_signals.c[name].label(f"signal_{name}") for name in ("stop_loss", "take_profit")]
    with database.read() as connection:
        statement = sa.select(order_intents, *levels).join(
            entry_signals, entry_signals.c.signal_id == order_intents.c.signal_id
        )
        intents = list(connection.execute(statement.where(order_intents.c.order_link_id.in_(sorted(links)))).mappings())
    found = []
    for intent in intents:
        # Its plan may have moved the levels of the position since.
        signalled = [Decimal(str(intent[f"signal_{name}"])) for name in ("stop_loss", "take_profit")]
        wanted = (intent["side"], intent["qty"], *signalled)
        for sent in manual.orders_of(intent["order_link_id"]):
            if intent["price"] is not None and Decimal(sent["qty"]) < intent["qty"]:
                continue  # a person has changed it
            sent_levels = [Decimal(sent[name] or 0) for name in ("stopLoss", "takeProfit")]
            may_lack = may_lack_stops or intent["order_link_id"] in sent_bare
            is_bare = may_lack and not any(sent_levels)
            if (sent["side"], Decimal(sent["qty"]), *sent_levels) != wanted and not is_bare:
                found.append(
                    f"{intent['order_link_id']} was sent as {sent['side']} {sent['qty']} {sent_levels}, not {wanted}"
                )
    return found
