"""What a signal was decided on, kept unchanged for good: a snapshot beside the signal, and its hash. No presenting.

The rows that a signal came from belong to partitions, and a partition may be written again. So the rows are copied when
the signal is written, in the same transaction.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from trading_assets.ledger import tracing
from trading_assets.ledger.tables import signal_evidence as table
from trading_assets.ledger.tracing import Origin


@dataclass(frozen=True)
class Decided:
    """What only the finder knows of a decision; the rest of the evidence is in the ledger.

    Attributes:
        selection: the row of `strategy_selections` that was followed.
        candles: for each series that was read (its name, such as `60m BTCUSDT`) bars, first and last open time, and the
            hash of the content.
        indicators: values at the decided bar, by name.
    """

    selection: Mapping[str, Any]
    candles: Mapping[str, Mapping[str, Any]]
    indicators: Mapping[str, float]


@dataclass(frozen=True)
class Evidence:
    """A snapshot as it was written.

    Attributes:
        origin: the rows that the signal came from.
        candles, indicators: see `Decided`; empty where the finder did not write the signal.
        content_hash: SHA-256 of the text, as written with it.
        is_intact: whether the text still has that hash.
        time_ms: moment of the signal, UTC ms.
    """

    origin: Origin
    candles: Mapping[str, Mapping[str, Any]]
    indicators: Mapping[str, float]
    content_hash: str
    is_intact: bool
    time_ms: int


def add_each(
    connection: sa.Connection, signals: Sequence[Mapping[str, Any]], btc: str, decided: Mapping[str, Decided]
) -> None:
    """Keep what new signals were decided on, in the caller's transaction.

    Args:
        signals: rows of `entry_signals`, at least one.
        btc: the venue's symbol of the BTC perpetual.
        decided: by signal id.
    """
    origins = tracing.origins(connection, [(signal, tracing.candles_read(signal, btc)) for signal in signals])
    rows = [
        _row(signal, origin, decided.get(str(signal["signal_id"])))
        for signal, origin in zip(signals, origins, strict=True)
    ]
    connection.execute(sa.insert(table), rows)


def _row(signal: Mapping[str, Any], origin: Origin, decided: Decided | None) -> dict[str, Any]:
    found = dict(vars(origin))  # not `asdict`, which copies every value of it
    if decided is not None:
        found["selection"] = dict(decided.selection)
    found["candles"] = {" ".join(key): row for key, row in found["candles"].items()}
    rest = {"read": decided.candles, "indicators": decided.indicators} if decided is not None else {}
    text = json.dumps(_plain({**found, **rest}), sort_keys=True, separators=(",", ":"), allow_nan=False)
    row = {"signal_id": signal["signal_id"], "content": text, "content_hash": _hash(text)}
    return row | {"time_ms": signal["created_at_ms"]}


def read(connection: sa.Connection, signal_id: str) -> Evidence | None:
    """Return what a signal was decided on; None where it was written before snapshots were kept."""
    row = connection.execute(sa.select(table).where(table.c.signal_id == signal_id)).mappings().one_or_none()
    if row is None:
        return None
    held = json.loads(row["content"])
    candles = {}
    for name, coverage in held["candles"].items():
        timeframe, _, symbol = name.partition(" ")
        candles[timeframe, symbol] = coverage
    origin = Origin(held["selection"], held["backtest"], held["scan"], candles, held["writes"], tuple(held["verdicts"]))
    return Evidence(
        origin,
        held.get("read", {}),
        held.get("indicators", {}),
        row["content_hash"],
        _hash(row["content"]) == row["content_hash"],
        row["time_ms"],
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A value as JSON holds it; what is not finite is none, as in the ledger."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
