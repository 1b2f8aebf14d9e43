"""Entry rules of `bollinger_rsi` as a table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trading_assets.core.strategy_data import StrategyData
from trading_assets.strategies.base import Values
from trading_assets.strategies.bollinger_rsi import BollingerRsi
from trading_assets_tests.strategies.markets import walk

LONG, SHORT, NONE = 1, -1, 0


@pytest.mark.parametrize(
    ("position", "rsi", "side", "confidence"),
    [
        (-0.71, 50.0, LONG, 60),
        (-0.7, 50.0, NONE, 60),
        (-1.5, 34.9, LONG, 70),
        (-1.5, 35.0, LONG, 60),
        (-1.5, 30.0, LONG, 70),
        (-1.5, 29.9, NONE, 60),
        (-1.5, 70.0, LONG, 60),
        (-1.5, 70.1, NONE, 60),
        (0.71, 50.0, SHORT, 60),
        (0.7, 50.0, NONE, 60),
        (1.5, 65.1, SHORT, 70),
        (1.5, 65.0, SHORT, 60),
        (1.5, 70.0, SHORT, 70),
        (1.5, 70.1, NONE, 60),
        (1.5, 30.0, SHORT, 60),
        (1.5, 29.9, NONE, 60),
        (0.0, 50.0, NONE, 60),
        (math.nan, 50.0, NONE, 60),
        (-1.5, math.nan, NONE, 60),
        (1.5, math.nan, NONE, 60),
    ],
)
def test_entries_follow_the_table(position: float, rsi: float, side: int, confidence: float) -> None:
    values = {"bb_position": np.array([position]), "rsi": np.array([rsi])}
    entries = BollingerRsi.entries(Values(walk(1, 1), values), BollingerRsi().parameters)
    assert int(entries.long[0]) - int(entries.short[0]) == side
    if side:
        assert entries.confidence[0] == confidence


def test_every_number_is_a_parameter() -> None:
    strategy = BollingerRsi(
        {
            "band": 0.5,
            "rsi_low": 20,
            "rsi_high": 80,
            "rsi_extreme_low": 25,
            "base_confidence": 50,
            "extreme_bonus": 33,
        }
    )
    values = {"bb_position": np.array([-0.6, -0.6]), "rsi": np.array([24.0, 26.0])}
    entries = strategy.entries(Values(walk(1, 2), values), strategy.parameters)
    assert entries.long.all()
    assert entries.confidence.tolist() == [83.0, 50.0]


def test_it_looks_at_its_own_candles_alone_and_shows_what_the_signal_row_reads() -> None:
    data = StrategyData("COINUSDT", walk(2, 1500))
    signals = BollingerRsi().signals(data)
    assert {"rsi", "bb_position"} <= set(signals.indicators)
    assert signals.long.sum() > 20
    assert signals.short.sum() > 20
    needs = BollingerRsi().needs()
    assert (dict(needs.candles), dict(needs.btc), needs.funding) == ({}, {}, False)
