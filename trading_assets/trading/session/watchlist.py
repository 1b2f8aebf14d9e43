"""The newest selection, its coins, and how far each of them was decided. Pure but for reading the selection.

Whoever uses a watchlist tells it the time: the venue's in UTC ms, and the moment in seconds of a monotonic clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import pandas as pd

from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.streams import Topic
from trading_assets.core.timeframes import Timeframe, floor_ms, iso
from trading_assets.ledger import selections
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading.decide.entry import is_due
from trading_assets.trading.session.candle_cache import DataRequest

GATHER_S = 0.04
"""Candles of many symbols close in the same second: the first ones wait this long for the others."""

LATE_AFTER_S = 1.0
"""A closed candle is late when the stream has not brought it after this time: it is read by REST ..."""
LATE_AGAIN_S = 2.0
"""... and again after this time."""

_DECISIVE = ["symbol", "timeframe", "strategy", "parameters"]


@dataclass(frozen=True)
class Selected:
    """Rows of `strategy_selections` of one hour: none where it was selected and chose no coin."""

    hour_ms: int
    rows: pd.DataFrame

    @property
    def is_empty(self) -> bool:
        return not len(self.rows)

    @cached_property
    def key(self) -> str:
        """Hour and digest of what is traded: an hour selected again with another result has another key."""
        text = self.rows[_DECISIVE].sort_values("symbol").to_csv(index=False)
        return f"{iso(self.hour_ms)}#{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


_held: WeakKeyDictionary[Database, tuple[list[Any], Selected]] = WeakKeyDictionary()
"""The newest selection as it was read last, with what the ledger held: sensors ask every few seconds, it is hourly."""


def newest_selection(database: Database) -> Selected | None:
    """Return the newest hour that was selected; None where there is none yet.

    It is followed if it chose no coin, too: then nothing is opened, as in the reports. An hour that is missing or
    blocked was not selected, and the one before it is followed on.
    """
    hour = selections.newest_hour_ms(database)
    if hour is None:
        return None
    # Read before the rows are: with those of a later write, the next question reads them again.
    rows = [hour, *selections.stored(database, hour)]
    held = _held.get(database)
    if held is None or held[0] != rows:
        held = _held[database] = rows, Selected(hour, read_partitions(database, STRATEGY_SELECTIONS, [hour]))
    return held[1]


@dataclass
class Coin:
    """A selected coin.

    Attributes:
        row: of `strategy_selections`.
        request: the series that its strategy reads; None where the strategy cannot be made.
        topics: those series, the coin's own first.
        decided_ms: the close up to which it was decided.
        pending_ms: the close to be decided.
        pending_at: moment when that close was first seen.
        read_at: moment when its series were last read by REST.
    """

    row: Mapping[str, Any]
    timeframe: Timeframe
    request: DataRequest | None
    topics: tuple[Topic, ...]
    decided_ms: int = 0
    pending_ms: int = 0
    pending_at: float = 0.0
    read_at: float = 0.0

    @property
    def symbol(self) -> str:
        return str(self.row["symbol"])

    def is_late(self, moment: float) -> bool:
        """Whether its pending candle is to be read by REST now."""
        return moment - self.pending_at >= LATE_AFTER_S and moment - self.read_at >= LATE_AGAIN_S


class Watchlist:
    """The coins of a selection, by symbol. `btc` is the venue's symbol of the BTC perpetual."""

    def __init__(self, selected: Selected, btc: str) -> None:
        rows = selected.rows.sort_values("symbol").to_dict("records")
        self.coins = [_coin({str(name): value for name, value in row.items()}, btc) for row in rows]

    @property
    def requests(self) -> list[DataRequest]:
        """What the strategies of the coins read."""
        return [coin.request for coin in self.coins if coin.request is not None]

    @property
    def has_pending(self) -> bool:
        """Whether a coin has a close that is not decided yet."""
        return any(coin.pending_ms > coin.decided_ms for coin in self.coins)

    def update(self, now_ms: int, moment: float, ttl_s: int) -> list[Coin]:
        """Note the closes until `now_ms`. Return the coins whose newest close is to be decided.

        A close that is too old for a signal, which lives for `ttl_s`, counts as decided.
        """
        pending = []
        for coin in self.coins:
            close = floor_ms(now_ms, coin.timeframe.ms)
            if close < coin.decided_ms:  # decided while the venue's clock was wrong; a signal is found only once
                coin.decided_ms = 0
            if close <= coin.decided_ms:
                continue
            if not is_due(coin.timeframe, now_ms, ttl_s):
                coin.decided_ms = close
                continue
            if coin.pending_ms != close:
                coin.pending_ms, coin.pending_at = close, moment
            pending.append(coin)
        return pending


def should_gather(ready: Sequence[Coin], waiting: Sequence[Coin], moment: float) -> bool:
    """Return whether the coins with complete candles wait for the others, so that all are decided at once."""
    return bool(waiting and ready) and moment - min(coin.pending_at for coin in ready) < GATHER_S


def _coin(row: Mapping[str, Any], btc: str) -> Coin:
    symbol, timeframe = str(row["symbol"]), Timeframe(str(row["timeframe"]))
    try:
        needs = make_strategy(str(row["strategy"]), str(row["parameters"])).needs()
    except Exception:  # noqa: BLE001 (a user's strategy may raise anything; the finder reports it, the others go on)
        return Coin(row, timeframe, None, ())
    request = DataRequest(symbol, timeframe, needs, btc)
    return Coin(row, timeframe, request, request.topics)
