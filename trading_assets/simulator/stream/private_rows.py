"""Rows of the private topics, made from what has changed in the account. No connections here.

They are the REST rows with what the streams have different.
"""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal

from trading_assets.core.models import Side
from trading_assets.simulator.account.models import (
    LONG_LEG,
    ONE_WAY,
    SHORT_LEG,
    ZERO,
    ClosedPnl,
    Execution,
    Order,
    Position,
)
from trading_assets.simulator.account.state import Batch
from trading_assets.simulator.codec import Params, trimmed
from trading_assets.simulator.rest.account import wallet_balance
from trading_assets.simulator.rest.common import LINEAR
from trading_assets.simulator.rest.position import position_row
from trading_assets.simulator.rest.trade import execution_row, order_row
from trading_assets.simulator.venue import Venue

WALLET = "wallet"

_FAST = (
    "category",
    "symbol",
    "execId",
    "execPrice",
    "execQty",
    "orderId",
    "isMaker",
    "orderLinkId",
    "side",
    "execTime",
    "seq",
)
_POSITION_SAME = (
    "positionIdx",
    "tradeMode",
    "riskId",
    "riskLimitValue",
    "symbol",
    "side",
    "size",
    "leverage",
    "markPrice",
    "cumRealisedPnl",
    "createdTime",
    "updatedTime",
    "bustPrice",
    "positionStatus",
    "adlRankIndicator",
    "autoAddMargin",
    "leverageSysUpdatedTime",
    "mmrSysUpdatedTime",
    "seq",
    "isReduceOnly",
)
_POSITION_ZERO_WHEN_EMPTY = (
    "breakEvenPrice",
    "positionValue",
    "positionBalance",
    "positionIM",
    "positionIMByMp",
    "positionMM",
    "positionMMByMp",
    "takeProfit",
    "stopLoss",
    "trailingStop",
    "curRealisedPnl",
    "unrealisedPnl",
    "sessionAvgPrice",
    "liqPrice",
)


def messages(venue: Venue, batch: Batch) -> dict[str, str]:
    """Kind of topic -> JSON list of its rows, for the kinds that have something to tell, in the order to tell it.

    Call it while the venue lets nobody else in (as listeners are): wallet, margins and stops are the account's of
    now. The position of every symbol with an order in the batch is told, also one that did not change.
    """
    orders = [record for record in batch.records if isinstance(record, Order)]
    executions = [record for record in batch.records if isinstance(record, Execution)]
    told = [_execution(venue, execution, batch) for execution in executions]
    rows: dict[str, list[dict[str, object]]] = {
        "order": [_order(venue, order) for order in orders],
        "execution.fast": [_fast(row) for row in told if row["execType"] == "Trade"],
        "execution": told,
        "position": _positions(venue, batch, {order.symbol for order in orders}),
        WALLET: [],
    }
    if any(not isinstance(record, Position) for record in batch.records):
        rows[WALLET] = [_wallet(venue, batch.time_ms)]
    return {kind: json.dumps(of, separators=(",", ":")) for kind, of in rows.items() if of}


def _order(venue: Venue, order: Order) -> dict[str, object]:
    return {"category": LINEAR} | order_row(venue, order) | {"feeCurrency": ""}


def _execution(venue: Venue, execution: Execution, batch: Batch) -> dict[str, object]:
    row = {"category": LINEAR} | execution_row(venue, execution)
    return row | {"isLeverage": "0", "marketUnit": "", "execPnl": trimmed(_realised(venue, execution, batch))}


def _fast(row: dict[str, object]) -> dict[str, object]:
    return {name: row[name] for name in _FAST}


def _realised(venue: Venue, execution: Execution, batch: Batch) -> Decimal:
    """Gross profit of what the execution closed; fees and funding are not in it."""
    if not execution.closed_size:
        return ZERO
    records = [record for record in batch.records if isinstance(record, ClosedPnl)]
    for closed in (*records, *reversed(venue.engine.state.closed)):
        if closed.order_id == execution.order_id:
            gained = execution.price - closed.entry_price
            return execution.closed_size * (gained if execution.side is Side.SELL else -gained)
    return ZERO


def _positions(venue: Venue, batch: Batch, acted_on: set[str]) -> list[dict[str, object]]:
    by_symbol: defaultdict[str, list[Position]] = defaultdict(list)
    for record in batch.records:
        if isinstance(record, Position):
            by_symbol[record.symbol].append(record)
    state = venue.engine.state
    for symbol in acted_on - by_symbol.keys():
        by_symbol[symbol] = [state.look_up(symbol, index) for index in _legs(venue, symbol)]
    if not by_symbol:
        return []
    account = venue.engine.figures(batch.time_ms)
    return [
        _position(position_row(venue, account, position, batch.time_ms))
        for symbol in sorted(by_symbol)
        for position in by_symbol[symbol]
        if position.position_idx in _legs(venue, symbol)
    ]


def _legs(venue: Venue, symbol: str) -> tuple[int, ...]:
    """Of the mode that the symbol is in: both legs, or the one position."""
    hedged = venue.engine.state.is_hedged(symbol, venue.market.contracts[symbol].settle_coin)
    return (LONG_LEG, SHORT_LEG) if hedged else (ONE_WAY,)


def _position(row: dict[str, object]) -> dict[str, object]:
    return (
        {name: row[name] for name in _POSITION_SAME}
        | {name: row[name] or "0" for name in _POSITION_ZERO_WHEN_EMPTY}
        | {"category": LINEAR, "entryPrice": row["avgPrice"] or "0", "tpslMode": row.get("tpslMode") or "Full"}
    )


def _wallet(venue: Venue, time_ms: int) -> dict[str, object]:
    answer = wallet_balance(venue, Params({"accountType": "UNIFIED"}), time_ms)
    assert isinstance(answer, dict)
    row: dict[str, object] = answer["list"][0]
    return row
