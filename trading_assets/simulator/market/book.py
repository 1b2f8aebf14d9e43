"""The order book around a price: one book a second, deeper where more is traded. No matching here."""

from __future__ import annotations

import math

import numpy as np

from trading_assets.simulator.market.base import Bars, Contract
from trading_assets.simulator.market.coin_profile import CoinProfile
from trading_assets.simulator.market.grid import Grid
from trading_assets.simulator.market.noise import (
    drift_at,
    exponentials,
    normal_at,
    stream,
    uniforms,
    words_at,
)

MAX_LEVELS = 500
_BUCKET_MS = 1000
_SPREAD_BUCKET_MS = 300_000
_REACH = 0.01
"""Half of the levels lie within so much of the price, as far as the tick allows."""

_MINUTES_OF_TURNOVER = 6.0
"""What half of the levels of one side hold, in minutes of a usual day's turnover."""

_SIGNS = np.array([[-1], [1]])


def levels(
    seed: int, contract: Contract, profile: CoinProfile, grid: Grid, ticks: int, time_ms: int, depth: int
) -> tuple[Bars, Bars]:
    """Bids and asks of shape (<= depth, 2), best first: price on the tick, quantity on the step.

    The last price, `ticks`, lies within the best bid and ask. A shallower book is the beginning of a deeper one.
    """
    of = stream(seed, "book", contract.symbol)
    count = min(depth, MAX_LEVELS)
    words = words_at(of, time_ms // _BUCKET_MS, 4 * count).reshape(count, 4).T
    best = np.array(_best(of, profile, ticks, time_ms)).reshape(2, 1)
    spacing = max(ticks * _REACH / (MAX_LEVELS / 2), 1.0)
    index = np.arange(count)
    # Levels may move within their slot but never meet; the best one stays.
    offset = index * spacing + uniforms(words[1::2]) * (spacing - 1.0)
    offset[:, 0] = 0.0
    quoted = best + _SIGNS * np.floor(offset)
    usual = _usual_steps(profile, grid, ticks)
    steps = np.maximum(np.rint(usual * (0.3 + 0.4 * exponentials(words[::2]) + index / MAX_LEVELS)), 1.0)
    bids, asks = np.stack([grid.prices(quoted), grid.quantities(steps)], axis=2)
    return bids[quoted[0] >= 1], asks


def best_levels(
    seed: int, contract: Contract, profile: CoinProfile, grid: Grid, ticks: int, time_ms: int
) -> tuple[Bars, Bars]:
    """`levels` of depth 1, in a third of the time: what a ticker shows."""
    of = stream(seed, "book", contract.symbol)
    bid, ask = _best(of, profile, ticks, time_ms)
    drawn = exponentials(words_at(of, time_ms // _BUCKET_MS, 4)[::2])
    bid_steps, ask_steps = np.maximum(np.rint(_usual_steps(profile, grid, ticks) * (0.3 + 0.4 * drawn)), 1.0).tolist()
    return (
        np.array([[grid.price(bid), grid.quantity(bid_steps)]]),
        np.array([[grid.price(ask), grid.quantity(ask_steps)]]),
    )


def _best(of: int, profile: CoinProfile, ticks: int, time_ms: int) -> tuple[int, int]:
    """Best bid and ask, ticks."""
    wide = math.exp(
        0.4 * drift_at(of, time_ms / (6 * _SPREAD_BUCKET_MS))
        + 0.35 * normal_at(of, -1 - time_ms // _SPREAD_BUCKET_MS)
        + 0.1 * normal_at(of, time_ms // _BUCKET_MS)
    )
    spread = max(round(profile.spread_bps * 1e-4 * ticks * wide), 1)
    ask = ticks + (spread + 1) // 2
    return max(ask - spread, 1), ask


def _usual_steps(profile: CoinProfile, grid: Grid, ticks: int) -> float:
    """Quantity steps of a usual level."""
    a_level = profile.turnover / 1440 * _MINUTES_OF_TURNOVER / (MAX_LEVELS / 2)
    return a_level / (ticks * grid.tick * grid.step)
