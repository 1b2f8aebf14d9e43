"""The universe of the seeded market: every contract with its rules and its profile. No prices over time here."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache

from trading_assets.core.timeframes import DAY_MS, HOUR_MS, to_ms
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.market.coin_profile import HALF_LIVES_MIN, CoinProfile
from trading_assets.simulator.market.coins import (
    CALM,
    COINS,
    DATED,
    LISTED,
    ONSETS,
    QUIET,
    STABLE,
    TAILS,
    USDC_SETTLED,
    VOWELS,
)
from trading_assets.simulator.market.noise import normal_at, stream, uniform_at

Listing = tuple[Contract, CoinProfile]

_TICKS = {"BTC": "0.10", "ETH": "0.01", "SOL": "0.010", "XRP": "0.0001", "DOGE": "0.00001", "BNB": "0.10"}
_STEPS = {"BTC": "0.001", "ETH": "0.01", "SOL": "0.1", "XRP": "0.1", "DOGE": "1", "BNB": "0.01"}
_MAJORS = 6
_EFFICIENT = 3
"""So many of the largest coins hardly overshoot or trend."""

_QUIET_EVERY, _CALM_EVERY = 12, 19
"""Among the generated coins."""

_FIRST_LISTING = "2020-11-01"
_LISTING_DAYS = 1100
"""Drawn days of listing end in November 2023."""


def universe(seed: int, symbols: int) -> dict[str, Listing]:
    """`symbols` USDT perpetuals, then what a scan must drop: stablecoins, USDC-settled perpetuals, dated futures."""
    listed: dict[str, Listing] = {}

    def add(contract: Contract, profile: CoinProfile) -> None:
        listed[contract.symbol] = (contract, profile)

    for rank, (base, price) in enumerate(_coins(seed, symbols)):
        profile = _profile(seed, base, price, rank)
        add(_perpetual(seed, base, "USDT", rank, len(listed) + 1, profile), profile)
    for base in STABLE:
        profile = CoinProfile(1.0, 0.0003, 4e6, vol_spread=0.5, reversion=0.5, half_life_min=45.0)
        add(_perpetual(seed, base, "USDT", 60, len(listed) + 1, profile), profile)
    for base in USDC_SETTLED:
        if f"{base}USDT" in listed:
            profile = _following(listed[f"{base}USDT"], share=0.02)
            add(_perpetual(seed, base, "USDC", 20, len(listed) + 1, profile), profile)
    for base, code, listed_on, delivered_on in DATED:
        if f"{base}USDT" in listed:
            profile = _following(listed[f"{base}USDT"], share=0.008, premium_per_year=0.055)
            add(_dated(seed, base, code, (listed_on, delivered_on), len(listed) + 1, profile), profile)
    return listed


def _coins(seed: int, symbols: int) -> list[tuple[str, float]]:
    """Real names first, then made ones with prices from a cent to 200."""
    named = [(base, float(price)) for base, price in (coin.split(":") for coin in COINS.split())]
    prices = stream(seed, "level")
    low, high = math.log(0.01), math.log(200.0)
    for number, base in enumerate(_made_names(symbols - len(named)), start=1):
        price = math.exp(low + (high - low) * uniform_at(prices, number))
        named.append((base, float(f"{price:.3g}")))
    return named[:symbols]


@cache
def _made_names(count: int) -> tuple[str, ...]:
    """Names of two syllables, four to six letters, none of them twice and none of a named coin; of no seed."""
    taken = {coin.split(":")[0] for coin in COINS.split()} | set(STABLE)
    onsets, vowels = ONSETS.split(), VOWELS.split()
    of, number, names = stream(0, "names"), 0, list[str]()
    while len(names) < count:
        drawn = [uniform_at(of, 8 * number + place) for place in range(5)]
        sounds = zip((onsets, vowels, onsets, vowels, TAILS), drawn, strict=True)
        name = "".join(choices[int(share * len(choices))] for choices, share in sounds)
        number += 1
        if len(name) <= 6 and name not in taken:
            taken.add(name)
            names.append(name)
    return tuple(names)


def _is_special(base: str, rank: int, chosen: frozenset[str], every: int) -> bool:
    made = rank - len(COINS.split()) + 1
    return base in chosen or (made > 0 and made % every == 0)


def _profile(seed: int, base: str, price: float, rank: int) -> CoinProfile:
    of = stream(seed, "character", base)
    turnover = 8e9 / (rank + 1.5) ** 1.3 * math.exp(0.3 * normal_at(of, 0))
    if _is_special(base, rank, QUIET, _QUIET_EVERY):
        turnover = 1.8e5 + 1.2e5 * uniform_at(of, 1)
    spread_bps = usual_spread_bps(turnover)
    if rank >= _MAJORS:
        spread_bps *= math.exp(0.6 * normal_at(of, 2))
    half_life = HALF_LIVES_MIN[int(uniform_at(of, 3) * len(HALF_LIVES_MIN))]
    if _is_special(base, rank, CALM, _CALM_EVERY):
        return CoinProfile(
            price,
            0.0032,
            turnover,
            vol_spread=0.35,
            beta=0.2,
            reversion=0.1,
            half_life_min=half_life,
            spread_bps=min(spread_bps, 3.0),
        )
    daily_vol = 0.032 + (0.008 + 0.02 * min(rank, 40) / 40) * uniform_at(of, 4)
    beta = 0.5 + 0.3 * uniform_at(of, 5)
    reversion, momentum = _temper(uniform_at(of, 6), uniform_at(of, 7))
    if rank < _EFFICIENT:
        reversion, momentum = 0.3 * reversion, 0.3 * momentum
    if base == "BTC":
        daily_vol, beta, spread_bps = 0.024, 1.0, 0.1
    return CoinProfile(
        price,
        daily_vol,
        turnover,
        beta=beta,
        reversion=reversion,
        momentum=momentum,
        half_life_min=half_life,
        spread_bps=min(spread_bps, 14.0),
    )


def usual_spread_bps(turnover: float) -> float:
    """Of a contract with so much turnover a day, quote coin."""
    return 0.5 + (5e7 / turnover) ** 0.5


def rank_of(base: str) -> int:
    """Place of a base coin among the named ones, busiest first; behind them all where it has no name."""
    names = [coin.split(":")[0] for coin in COINS.split()]
    return names.index(base) if base in names else len(names)


def _temper(kind: float, strength: float) -> tuple[float, float]:
    """Reversion and momentum: every fifth coin overshoots much, every third a little, every fifth trends."""
    if kind < 0.2:
        return 0.5 + 0.5 * strength, 0.0
    if kind < 0.53:
        return 0.08 + 0.32 * strength, 0.0
    return (0.0, 0.15 + 0.35 * strength) if kind < 0.73 else (0.0, 0.0)


def _following(leader: Listing, *, share: float, premium_per_year: float = 0.0) -> CoinProfile:
    contract, like = leader
    return CoinProfile(
        like.price,
        like.daily_vol,
        like.turnover * share,
        spread_bps=like.spread_bps + 1.5,
        follows=contract.symbol,
        share=share,
        premium_per_year=premium_per_year,
    )


def _perpetual(seed: int, base: str, coin: str, rank: int, number: int, profile: CoinProfile) -> Contract:
    symbol = f"{base}{coin}" if coin == "USDT" else f"{base}PERP"
    of = stream(seed, "rules", symbol)
    drawn = _day_ms(_FIRST_LISTING) + int(uniform_at(of, 0) * _LISTING_DAYS) * DAY_MS
    often = (480, 240, 240, 60)[int(uniform_at(of, 1) * 4)]
    return _contract(
        seed,
        symbol,
        (base, coin),
        rank,
        number,
        profile.price,
        launch_ms=_day_ms(LISTED[base]) if coin == "USDT" and base in LISTED else drawn,
        funding_interval_min=480 if rank < 2 * _MAJORS else often,
    )


def _dated(seed: int, base: str, code: str, days: tuple[str, str], number: int, profile: CoinProfile) -> Contract:
    return _contract(
        seed,
        f"{base}USDT-{code}",
        (base, "USDT"),
        0,
        number,
        profile.price,
        launch_ms=_day_ms(days[0]),
        delivery_ms=_day_ms(days[1]) + 8 * HOUR_MS,
    )


def _contract(
    seed: int,
    symbol: str,
    coins: tuple[str, str],
    rank: int,
    number: int,
    price: float,
    *,
    launch_ms: int,
    delivery_ms: int = 0,
    funding_interval_min: int = 480,
) -> Contract:
    return contract_with(
        symbol,
        coins,
        rank,
        number,
        price,
        (_tick(seed, coins[0], price), _step(coins[0], price)),
        launch_ms=launch_ms,
        delivery_ms=delivery_ms,
        funding_interval_min=funding_interval_min,
    )


def contract_with(
    symbol: str,
    coins: tuple[str, str],
    rank: int,
    number: int,
    price: float,
    units: tuple[Decimal, Decimal],
    *,
    launch_ms: int,
    delivery_ms: int = 0,
    funding_interval_min: int = 480,
) -> Contract:
    """A contract of base and quote coin, with the limits of its rank (0 is the busiest), and tick and step `units`."""
    base, coin = coins
    tick, step = units
    major = rank < _MAJORS
    max_market = Decimal(math.ceil(2e6 / price / float(step))) * step
    return Contract(
        symbol=symbol,
        symbol_id=number,
        base_coin=base,
        quote_coin=coin,
        settle_coin=coin,
        contract_type="LinearFutures" if delivery_ms else "LinearPerpetual",
        status="Trading",
        symbol_type="innovation" if rank > 60 else "",
        launch_ms=launch_ms,
        delivery_ms=delivery_ms,
        price_scale=max(-int(tick.as_tuple().exponent), 0),
        tick_size=tick,
        min_price=tick,
        max_price=tick * 19_999_998,
        qty_step=step,
        min_qty=step,
        max_qty=max_market * 5,
        max_market_qty=max_market,
        min_notional=Decimal(5),
        max_leverage=Decimal("100.00") if major else Decimal("50.00") if rank < 40 else Decimal("25.00"),
        leverage_step=Decimal("0.01"),
        funding_interval_min=funding_interval_min,
        funding_cap=Decimal("0.00375") if major else Decimal("0.02"),
        price_limit_x=Decimal("0.01") if major else Decimal("0.05"),
        price_limit_y=Decimal("0.02") if major else Decimal("0.1"),
    )


def _tick(seed: int, base: str, price: float) -> Decimal:
    """A tick of 0.1 to 5 basis points of the price."""
    if base in _TICKS:
        return Decimal(_TICKS[base])
    digit = (1, 1, 1, 2, 5)[int(uniform_at(stream(seed, "tick", base), 0) * 5)]
    return digit * Decimal(1).scaleb(math.floor(math.log10(price)) - 4)


def _step(base: str, price: float) -> Decimal:
    """A quantity step worth 0.2 to 2 USD; with the largest coins as on the venue."""
    if base in _STEPS:
        return Decimal(_STEPS[base])
    step = Decimal(1).scaleb(math.floor(math.log10(2.0 / price)))
    return step if step < 1 else Decimal(int(step))


def _day_ms(day: str) -> int:
    return to_ms(datetime.fromisoformat(day).replace(tzinfo=UTC))
