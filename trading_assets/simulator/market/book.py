"""The order book around a price: one book a second, deeper where more is traded. No matching here."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from trading_assets.simulator.market.base import Bars, Contract
from trading_assets.simulator.market.character import Character
from trading_assets.simulator.market.grid import Grid
from trading_assets.simulator.market.noise import (
    Floats,
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

_SECONDS_KEPT = 1000
"""Enough for a second of a whole market; 16 kB each where all levels are asked for."""

_SIGNS = np.array([[-1], [1]])


def levels(
    seed: int, contract: Contract, character: Character, grid: Grid, ticks: int, time_ms: int, depth: int
) -> tuple[Bars, Bars]:
    """Bids and asks of shape (<= depth, 2), best first: price on the tick, quantity on the step.

    The last price, `ticks`, lies within the best bid and ask. A shallower book is the beginning of a deeper one.
    """
    of = stream(seed, "book", contract.symbol)
    count = min(depth, MAX_LEVELS)
    places, sizes, width = _second(of, time_ms // _BUCKET_MS, count)
    wide = math.exp(
        0.4 * drift_at(of, time_ms / (6 * _SPREAD_BUCKET_MS))
        + 0.35 * normal_at(of, -1 - time_ms // _SPREAD_BUCKET_MS)
        + width
    )
    spread = max(round(character.spread_bps * 1e-4 * ticks * wide), 1)
    best_ask = ticks + (spread + 1) // 2
    best = np.array([[max(best_ask - spread, 1)], [best_ask]])
    spacing = max(ticks * _REACH / (MAX_LEVELS / 2), 1.0)
    index = np.arange(count)
    # Levels may move within their slot but never meet; the best one stays.
    offset = index * spacing + places * (spacing - 1.0)
    offset[:, 0] = 0.0
    quoted = best + _SIGNS * np.floor(offset)
    usual = character.turnover / 1440 * _MINUTES_OF_TURNOVER / (MAX_LEVELS / 2) / (ticks * grid.tick * grid.step)
    steps = np.maximum(np.rint(usual * (sizes + index / MAX_LEVELS)), 1.0)
    bids, asks = np.stack([grid.prices(quoted), grid.quantities(steps)], axis=2)
    return bids[quoted[0] >= 1], asks


@lru_cache(_SECONDS_KEPT)
def _second(of: int, bucket: int, count: int) -> tuple[Floats, Floats, float]:
    """What a second has drawn for `count` levels: their places in their slots, their sizes, and the spread's share."""
    words = words_at(of, bucket, 4 * count).reshape(count, 4).T
    return uniforms(words[1::2]), 0.3 + 0.4 * exponentials(words[::2]), 0.1 * normal_at(of, bucket)
