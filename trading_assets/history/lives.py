"""When each contract of the library lived, and its rules: of imported lists, else of what was traded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.candles import ENDED_BEFORE_MS
from trading_assets.core.models import Announcement, ContractKind, ContractStatus, Instrument
from trading_assets.core.timeframes import DAY_MS, MINUTE_MS
from trading_assets.history.library import ContractList, Span
from trading_assets.history.rows import QUOTES

KNOWN_FOR_MS = DAY_MS
"""A list's rules are known to hold for so long after it was made. At other times they are assumed."""

_SEEN_AFTER_MS = 2 * MINUTE_MS
"""The clock of the library stands so long after its newest candle: by then a venue has told candles and funding."""

_TICK, _STEP = Decimal("0.0001"), Decimal("1")
_MOST_QTY, _LEAST_NOTIONAL, _LEVERAGE, _LEVERAGE_STEP = Decimal("1e9"), Decimal(5), Decimal(25), Decimal("0.01")
_INTERVAL_MIN = 480


@dataclass(frozen=True)
class Life:
    """A contract from its first to its last trade, UTC ms.

    Attributes:
        ended_ms: when it was delisted; None while it lives at the library's end.
        is_told: whether a list says when it ended, or that it had not; else its trades do.
        data_end_ms: end of its newest candle.
    """

    symbol: str
    listed_ms: int
    ended_ms: int | None
    is_told: bool
    data_end_ms: int
    delivery_price: float | None = None

    def lives_at(self, time_ms: int) -> bool:
        return self.listed_ms <= time_ms and (self.ended_ms is None or time_ms < self.ended_ms)


def lives(spans: Iterable[Span], lists: Mapping[str, Sequence[ContractList]]) -> dict[str, Life]:
    """The life of each symbol that has candles."""
    of: dict[str, list[Span]] = {}
    for span in spans:
        if span.timeframe != "funding":
            of.setdefault(span.symbol, []).append(span)
    newest = max((span.end_ms for some in of.values() for span in some), default=0)
    return {symbol: _life(symbol, some, lists.get(symbol, ()), newest) for symbol, some in sorted(of.items())}


def _life(symbol: str, spans: Sequence[Span], lists: Sequence[ContractList], newest: int) -> Life:
    first, data_end = min(span.first_ms for span in spans), max(span.end_ms for span in spans)
    traded_end = max(span.traded_end_ms for span in spans)
    told = [one.row for one in lists]
    listed = next((row.listed_ms for row in reversed(told) if row.listed_ms is not None), None)
    # A list may know of an earlier or later contract of this name; trades outside its life are of this one.
    listed = first if listed is None else min(listed, first)
    delivered = next((row for row in reversed(told) if row.delivery_ms is not None and row.delivery_ms > first), None)
    if delivered is not None and delivered.delivery_ms is not None:
        ended = delivered.delivery_ms if delivered.delivery_ms <= newest else None
        return Life(symbol, listed, ended, True, data_end, delivered.delivery_price)
    if any(one.row.trading and one.as_of_ms >= traded_end for one in lists):
        return Life(symbol, listed, None, True, data_end)
    ended = traded_end if newest - traded_end >= ENDED_BEFORE_MS else None
    return Life(symbol, listed, ended, False, data_end)


def clock_ms(found: Mapping[str, Life]) -> int:
    """The time of the library: just after its newest candle. 0 where it is empty."""
    newest = max((life.data_end_ms for life in found.values()), default=0)
    return newest + _SEEN_AFTER_MS if newest else 0


def instrument(
    life: Life, lists: Sequence[ContractList], shown: tuple[Decimal, Decimal] | None, interval_min: int | None
) -> Instrument:
    """A contract with its rules: of the newest list, else of its numbers, else what is usual.

    Args:
        shown: tick and quantity step that its candles show.
        interval_min: between its funding payments, as they were imported.
    """
    quote = next(one for one in QUOTES if life.symbol.endswith(one))
    base, coin = life.symbol.removesuffix(quote), "USDC" if quote == "PERP" else quote
    row = lists[-1].row if lists else None
    tick, step = shown or (_TICK, _STEP)
    tick = (row and row.tick_size) or tick
    step = (row and row.qty_step) or step
    return Instrument(
        symbol=life.symbol,
        base_coin=base,
        quote_coin=coin,
        settle_coin=coin,
        kind=ContractKind.PERPETUAL,
        status=ContractStatus.TRADING if life.ended_ms is None else ContractStatus.CLOSED,
        is_coin=row.is_coin if row is not None else True,
        listed_ms=life.listed_ms,
        tick_size=tick,
        qty_step=step,
        min_qty=(row and row.min_qty) or step,
        max_market_qty=(row and row.max_market_qty) or max(_MOST_QTY, step),
        min_notional=(row and row.min_notional) or _LEAST_NOTIONAL,
        max_leverage=(row and row.max_leverage) or _LEVERAGE,
        leverage_step=_LEVERAGE_STEP,
        funding_interval_min=(row and row.funding_interval_min) or interval_min or _INTERVAL_MIN,
        delivery_ms=life.ended_ms,
    )


def announced(symbol: str, lists: Sequence[ContractList]) -> list[Announcement]:
    """The ends of a contract that lists tell of and since when each was known: as a list says, or since the first list
    that was made before the end and tells of it.
    """
    known: dict[int, int] = {}
    for one in lists:
        end_ms = one.row.delivery_ms
        since_ms = one.as_of_ms if one.row.announced_ms is None else one.row.announced_ms
        if end_ms is not None and since_ms < end_ms:
            known[end_ms] = min(since_ms, known.get(end_ms, since_ms))
    return [Announcement(symbol, end_ms, since_ms) for end_ms, since_ms in sorted(known.items())]


def rules_known(lists: Sequence[ContractList], time_ms: int) -> bool:
    """Whether a list was made so shortly before a time that its tick and lot are those of the time."""
    return any(
        0 <= time_ms - one.as_of_ms <= KNOWN_FOR_MS and one.row.tick_size is not None and one.row.qty_step is not None
        for one in lists
    )
