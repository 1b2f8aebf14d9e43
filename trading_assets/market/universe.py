"""Which coins are worth a backtest in an hour: pure rules over instruments and hourly candles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from trading_assets.core.candles import Candles, IntArray
from trading_assets.core.models import Announcement, ContractKind, ContractStatus, Instrument
from trading_assets.core.schemas import RULES_ASSUMED, RULES_KNOWN
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, as_of_ms, to_datetime
from trading_assets.market.quality import QualityLimits, faults, kinds_of

STABLECOINS = frozenset(
    {
        *("USDC", "USDT", "BUSD", "DAI", "TUSD", "FDUSD", "USDE", "PYUSD", "USDD", "USDP", "GUSD", "LUSD", "FRAX"),
        *("USTC", "EURC", "EURI", "RLUSD", "USD1", "USDS", "SUSD", "XUSD", "USDB", "BFUSD", "USDF", "USDX", "EURS"),
        "AEUR",
    }
)

HOURS = 24
_INCOMPLETE, _NOT_FETCHED = "incomplete history", "hourly candles: not fetched"

Dropped = dict[str, list[str]]
"""Symbols by the reason for which they were dropped."""


class _Figures(NamedTuple):
    """What the scan says of a coin in an hour."""

    price: float
    volume_24h: float
    price_change_24h: float
    volatility_24h: float


@dataclass(frozen=True)
class ScanResult:
    """Rows of `market_scan` of one hour by rank, and what was dropped."""

    rows: list[dict[str, object]]
    dropped: Dropped


class _Rules(NamedTuple):
    """Whether the rules of an hour's contracts are known, or assumed."""

    hour_ms: int
    of_the_list: str
    known: Mapping[tuple[int, str], str]
    by_time: Callable[[str, int], bool] | None

    def of(self, symbol: str, digest: str) -> str:
        if self.known.get((self.hour_ms, symbol)) == digest:
            return RULES_KNOWN
        if self.by_time is None:
            return self.of_the_list
        return RULES_KNOWN if self.by_time(symbol, as_of_ms(self.hour_ms)) else RULES_ASSUMED


def eligible(
    instruments: Sequence[Instrument], as_of: int, settle_coin: str, *, since: int | None = None
) -> tuple[list[Instrument], Dropped]:
    """Instruments that can be scanned at all as of `as_of` (UTC ms), and the rest by reason.

    Args:
        since: also those that could be at some time from then on, and have ended before `as_of`.
    """
    kept: list[Instrument] = []
    dropped: Dropped = {}
    for instrument in sorted(instruments, key=lambda i: i.symbol):
        moment = as_of
        if since is not None and _has_ended(instrument, as_of) and not _has_ended(instrument, since):
            moment = (instrument.delivery_ms or as_of) - 1
        reason = _ineligible(instrument, moment, settle_coin)
        if reason is None:
            kept.append(instrument)
        else:
            dropped.setdefault(reason, []).append(instrument.symbol)
    return kept, dropped


def _has_ended(instrument: Instrument, as_of: int) -> bool:
    return (
        instrument.status is ContractStatus.CLOSED
        and instrument.delivery_ms is not None
        and as_of >= instrument.delivery_ms
    )


def _ineligible(instrument: Instrument, as_of: int, settle_coin: str) -> str | None:
    if instrument.kind is not ContractKind.PERPETUAL:
        return "not a perpetual"
    if (instrument.settle_coin, instrument.quote_coin) != (settle_coin, settle_coin):
        return f"not settled in {settle_coin}"
    has_end = instrument.status is ContractStatus.CLOSED and instrument.delivery_ms is not None
    if instrument.status is not ContractStatus.TRADING and (not has_end or _has_ended(instrument, as_of)):
        return "not trading"
    if instrument.base_coin in STABLECOINS:
        return "stablecoin"
    if not instrument.is_coin:
        return "not a coin"
    if instrument.listed_ms > as_of - DAY_MS:
        return "listed less than 24 h ago"
    return None


def scan_id(as_of: int) -> str:
    """`scan-20251217-093000`."""
    return f"scan-{to_datetime(as_of):%Y%m%d-%H%M%S}"


def seen_ms(hours_ms: Sequence[int], now_ms: int) -> int:
    """As of when a list of contracts that is read now, for these hours, was known.

    It is the newest hour's own list until the next hour ends. Read later, it says nothing of any of them.
    """
    newest = as_of_ms(max(hours_ms))
    return newest if now_ms < newest + HOUR_MS else now_ms


def hour_rules(hour_ms: int, hours_ms: Sequence[int], now_ms: int) -> str:
    """Whether a list of contracts that is read now, for `hours_ms`, tells the rules of one of them or is assumed to."""
    return RULES_KNOWN if as_of_ms(hour_ms) == seen_ms(hours_ms, now_ms) else RULES_ASSUMED


def rules_digest(instrument: Instrument) -> str:
    """16 hexadecimal digits of the contract's tick, lots and leverage."""
    rules = (
        instrument.tick_size,
        instrument.qty_step,
        instrument.min_qty,
        instrument.max_market_qty,
        instrument.min_notional,
        instrument.max_leverage,
        instrument.leverage_step,
    )
    # 0.10 is 0.1, however the venue writes it.
    text = " ".join(f"{Decimal(value).normalize():f}" for value in rules)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def scan(
    hours_ms: Sequence[int],
    hourly: Mapping[str, Candles],
    instruments: Sequence[Instrument],
    settings: Settings,
    announced: Iterable[Announcement] = (),
    *,
    now_ms: int,
    not_fetched: Collection[str] = (),
    known_rules: Mapping[tuple[int, str], str] = MappingProxyType({}),
    rules_known: Callable[[str, int], bool] | None = None,
) -> list[ScanResult]:
    """For each hour the coins that traded and moved enough in the 24 hours before its as-of, the most volatile first.

    Args:
        hourly: by symbol of each instrument that is eligible at the last hour, its 60m candles: at least those of the
            24 hours before each as-of.
        announced: ends of contracts. A coin is left out in the hours that knew of its end; what `instruments` say of it
            today is not asked.
        now_ms: the exchange's time: a candle that ends later cannot be finished.
        not_fetched: symbols whose candles could not be fetched.
        known_rules: `rules_digest` by hour and symbol of earlier scans by the hour's own list. Rules that are still the
            same are known, whenever the hour is scanned again.
        rules_known: says of a symbol and an as-of whether its rules are known, where the list is not that of now
            (`PastMarket`).

    Returns:
        One result an hour, in the order of `hours_ms`.
    """
    as_of = np.array([as_of_ms(hour) for hour in hours_ms], dtype=np.int64)
    coins, never = eligible(instruments, int(as_of.max()), settings.symbols.settle_coin, since=int(as_of.min()))
    limits = QualityLimits.from_settings(settings)
    figures = [
        _figures(
            hourly[coin.symbol], as_of, now_ms, limits, _NOT_FETCHED if coin.symbol in not_fetched else _INCOMPLETE
        )
        for coin in coins
    ]
    ends = list(announced)
    results = []
    for at, hour in enumerate(hours_ms):
        of_hour = [(coin, of_coin[at]) for coin, of_coin in zip(coins, figures, strict=True)]
        leaving = {end.symbol for end in ends if end.is_known(as_of_ms(hour))}
        known = _Rules(hour, hour_rules(hour, hours_ms, now_ms), known_rules, rules_known)
        results.append(_scan_hour(hour, of_hour, never, settings, leaving, known))
    return results


def _figures(
    candles: Candles, as_of: IntArray, now_ms: int, limits: QualityLimits, incomplete: str
) -> list[_Figures | str]:
    """The figures at each as-of, or why there are none: a candle of the 24 hours before is missing (`incomplete`) or
    bad."""
    first, end = np.searchsorted(candles.start_ms, as_of - DAY_MS), np.searchsorted(candles.start_ms, as_of)
    found: list[_Figures | str] = [incomplete] * len(as_of)
    bad = faults(candles, first, end, as_of, DAY_MS, now_ms, limits)
    whole = end - first == HOURS
    for at, fault in enumerate(bad):
        if whole[at] and fault is not None:
            whole[at] = False
            found[at] = f"hourly candles: {kinds_of(fault)}"
    complete = np.flatnonzero(whole)
    if len(complete):
        # One row an hour, so that a sum is of its 24 values in order, whatever else is scanned with it.
        of_day = first[complete, None] + np.arange(HOURS)
        low, high = candles.low[of_day].min(axis=1), candles.high[of_day].max(axis=1)
        price = candles.close[of_day[:, -1]]
        columns = (
            price,
            candles.turnover[of_day].sum(axis=1),
            (price / candles.open[of_day[:, 0]] - 1) * 100,
            (high - low) / low * 100,
        )
        for at, *values in zip(complete.tolist(), *(column.tolist() for column in columns), strict=True):
            found[at] = _Figures(*values)
    return found


def _scan_hour(
    hour_ms: int,
    coins: Iterable[tuple[Instrument, _Figures | str]],
    never: Dropped,
    settings: Settings,
    leaving: Collection[str],
    rules: _Rules,
) -> ScanResult:
    as_of = as_of_ms(hour_ms)
    dropped: Dropped = {reason: list(symbols) for reason, symbols in never.items()}
    found: list[tuple[Instrument, _Figures, float]] = []
    for instrument, figures in coins:
        size_error = 0.0
        reason = _ineligible(instrument, as_of, settings.symbols.settle_coin)
        if reason is None and instrument.symbol in leaving:
            reason = "to be delivered"
        reason = reason or _too_little(figures, settings)
        if reason is None and not isinstance(figures, str):
            size_error = _size_error_pct(instrument, figures.price, settings.target_notional)
            if size_error > settings.max_size_error_pct:
                reason = "position size cannot be expressed in lots"
        if reason is None and not isinstance(figures, str):
            found.append((instrument, figures, size_error))
        else:
            dropped.setdefault(str(reason), []).append(instrument.symbol)
    found.sort(key=lambda row: (-row[1].volatility_24h, row[0].symbol))
    dropped = {reason: sorted(symbols) for reason, symbols in dropped.items()}
    for instrument, *_ in found[settings.max_symbols :]:
        dropped.setdefault(f"beyond the {settings.max_symbols} most volatile", []).append(instrument.symbol)
    rows = [
        {
            "hour_ms": hour_ms,
            "scan_id": scan_id(as_of),
            "symbol": instrument.symbol,
            "rank": rank,
            **figures._asdict(),
            "size_error_pct": size_error,
            "max_price": float(settings.target_notional / instrument.min_qty),
            "timestamp_ms": as_of,
            "contract_rules": rules.of(instrument.symbol, digest),
            "rules_digest": digest,
        }
        for rank, (instrument, figures, size_error) in enumerate(found[: settings.max_symbols], start=1)
        for digest in [rules_digest(instrument)]
    ]
    return ScanResult(rows, dropped)


def _too_little(figures: _Figures | str, settings: Settings) -> str | None:
    if isinstance(figures, str):
        return figures
    if figures.volume_24h <= settings.min_volume_24h:
        return f"24 h turnover up to {settings.min_volume_24h:,.0f} USD"
    if figures.volatility_24h <= settings.min_volatility:
        return f"24 h range up to {settings.min_volatility:g} %"
    return None


def _size_error_pct(instrument: Instrument, price: float, notional: Decimal) -> float:
    """By how much the quantity step distorts the position, percent; 100 where no order is possible."""
    value = Decimal(str(price))
    try:
        qty = notional / value // instrument.qty_step * instrument.qty_step
    except ArithmeticError:  # more digits than any order has
        return 100.0
    if not instrument.min_qty <= qty <= instrument.max_market_qty or qty * value < instrument.min_notional:
        return 100.0
    return float((notional - qty * value) / notional * 100)
