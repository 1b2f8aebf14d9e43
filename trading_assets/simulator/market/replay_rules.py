"""Contracts of a replay: what a recording says of tick, step, funding interval and profile. No prices over time."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import numpy as np

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.timeframes import MINUTE_MS
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.market.coin_profile import CoinProfile
from trading_assets.simulator.market.contracts import contract_with, rank_of, usual_spread_bps
from trading_assets.simulator.market.noise import Floats
from trading_assets.simulator.market.recording import Funding, Recording, Series

_MOST_PLACES = 10
_DENSE = 100
"""A tick of 2 or 5 units is believed when so many prices agree with it."""

_COARSEST_TICK, _COARSEST_STEP = 1e-3, 20.0
"""Share of the lowest price, and value in quote coin, that tick and step stay below whatever the numbers look like."""

_SAMPLE = 2000
"""So many numbers are looked at before all are."""

_INTERVALS_MIN = (60, 120, 240, 480)
_QUOTES = ("USDT", "USDC", "PERP")
_DEFAULT_INTERVAL_MIN = 480


def listings(recording: Recording) -> dict[str, tuple[Contract, CoinProfile]]:
    """Contract and profile of every recorded symbol.

    Raises:
        ConfigurationError: a symbol's coins or tick cannot be told.
    """
    return {
        symbol: _listing(recording, symbol, number) for number, symbol in enumerate(sorted(recording.series), start=1)
    }


def _listing(recording: Recording, symbol: str, number: int) -> tuple[Contract, CoinProfile]:
    series = recording.series[symbol]
    prices = np.concatenate([one.values[:4].ravel() for one in series])
    volumes = np.concatenate([one.values[4] for one in series])
    longest = max(series, key=lambda one: len(one.start) * one.minutes)
    price = float(np.median(longest.values[3]))
    recorded = recording.rules.get(symbol)
    tick = _recorded_unit(recorded.tick_size if recorded else None, prices) or tick_of(symbol, prices)
    step = _recorded_unit(recorded.qty_step if recorded else None, volumes) or step_of(volumes, price)
    base, quote = _coins(symbol)
    contract = contract_with(
        symbol,
        (base, quote),
        rank_of(base),
        number,
        price,
        (tick, step),
        launch_ms=min(int(one.start[0]) for one in series) * MINUTE_MS,
        funding_interval_min=_interval_min(recording.funding.get(symbol)),
    )
    highest = Decimal(math.ceil(2 * prices.max() / float(tick))) * tick
    least = Decimal(recorded.min_qty) if recorded and step == _plain(Decimal(recorded.qty_step)) else step
    contract = replace(contract, max_price=max(contract.max_price, highest), min_qty=max(_plain(least), step))
    return contract, _profile(longest, price)


def _coins(symbol: str) -> tuple[str, str]:
    for quote in _QUOTES:
        base = symbol.removesuffix(quote)
        if base and base != symbol:
            return base, "USDC" if quote == "PERP" else quote
    raise ConfigurationError(f"the recorded symbol {symbol!r} does not end in USDT, USDC or PERP: leave it out")


def _profile(series: Series, price: float) -> CoinProfile:
    days = max(len(series.start) * series.minutes / 1440, 1 / 1440)
    turnover = max(float(series.values[5].sum()) / days, 1000.0)
    changes = np.diff(np.log(series.values[3]))
    daily_vol = float(changes.std() * math.sqrt(1440 / series.minutes)) if len(changes) > 1 else 0.0
    return CoinProfile(price, max(daily_vol, 1e-4), turnover, spread_bps=min(usual_spread_bps(turnover), 14.0))


def _interval_min(funding: Funding | None) -> int:
    """The commonest distance of recorded payments, minutes."""
    if funding is None or len(funding.times_ms) < 2:
        return _DEFAULT_INTERVAL_MIN
    distances, counts = np.unique(np.diff(funding.times_ms) // MINUTE_MS, return_counts=True)
    commonest = int(distances[counts.argmax()])
    return commonest if commonest in _INTERVALS_MIN else _DEFAULT_INTERVAL_MIN


def _recorded_unit(text: str | None, values: Floats) -> Decimal | None:
    """The instruments file's tick or step, unless the recorded numbers contradict it."""
    if text is None:
        return None
    unit = _plain(Decimal(text))
    fits = unit > 0 and bool((np.abs(np.rint(values / float(unit)) * float(unit) - values) <= 1e-9 * values).all())
    return unit if fits else None


def tick_of(symbol: str, prices: Floats) -> Decimal:
    """The coarsest tick of 1, 2 or 5 times a power of ten that all prices are on.

    Raises:
        ConfigurationError: they have more than ten decimals.
    """
    places = _places(prices)
    if places is None:
        raise ConfigurationError(
            f"the recorded prices of {symbol} have more than {_MOST_PLACES} decimals: round them to the venue's tick"
        )
    unit = Decimal(1).scaleb(-places)
    units = np.rint(prices * 10.0**places).astype(np.int64)
    common = int(np.gcd.reduce(units))
    while common % 10 == 0:
        common, unit = common // 10, unit * 10
    if len(np.unique(units[:: max(len(units) // _SAMPLE, 1)])) >= _DENSE:
        unit *= 5 if common % 5 == 0 else 2 if common % 2 == 0 else 1
    while float(unit) > _COARSEST_TICK * float(prices.min()):
        unit = Decimal(1).scaleb(unit.adjusted() - 1)
    return _plain(unit)


def step_of(volumes: Floats, price: float) -> Decimal:
    """The coarsest power of ten that all volumes are multiples of; if there is none, one worth about a quote coin."""
    places = _places(volumes)
    unit = Decimal(1).scaleb(-places if places is not None else math.floor(math.log10(2.0 / price)))
    common = int(np.gcd.reduce(np.rint(volumes / float(unit)).astype(np.int64)))
    while common and common % 10 == 0:
        common, unit = common // 10, unit * 10
    while float(unit) * price > _COARSEST_STEP:
        unit = unit.scaleb(-1)
    return _plain(unit)


def _places(values: Floats) -> int | None:
    """Decimals that all values need, up to ten."""
    sample = values[:: max(len(values) // _SAMPLE, 1)]
    for places in range(_MOST_PLACES + 1):
        if _are_rounded(sample, places) and _are_rounded(values, places):
            return places
    return None


def _are_rounded(values: Floats, places: int) -> bool:
    return bool((np.abs(np.round(values, places) - values) <= 1e-13 * values).all())


def _plain(unit: Decimal) -> Decimal:
    """Without an exponent and without trailing zeros: 10 and 0.001, not 1E+1 and 0.0010."""
    unit = unit.normalize()
    return unit if int(unit.as_tuple().exponent) <= 0 else unit.quantize(Decimal(1))
