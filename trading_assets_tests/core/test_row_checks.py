"""Plain comparisons and pandera refuse the same rows."""

from __future__ import annotations

import math

import pandas as pd
import pandera.errors
import pandera.pandas as pa
import pytest

from trading_assets.core.errors import DataError
from trading_assets.core.row_checks import PlainChecks
from trading_assets.core.schemas import ENTRY_SIGNALS
from trading_assets_tests.trading.fixtures import signal_row

ABSENT = dict.fromkeys(ENTRY_SIGNALS.columns)
GOOD = ABSENT | signal_row()

_BELOW = {
    "hour_ms": -1,
    "signal_timestamp_ms": -1,
    "ttl_ms": -1,
    "created_at_ms": -1,
    "confidence": -0.001,
    "leverage": 0.999,
    "settings_version": -1.0,
} | dict.fromkeys(("entry_price", "stop_loss", "take_profit", "position_size", "risk_reward_ratio", "limit_price"), 0.0)
_LIMITS = dict.fromkeys(("hour_ms", "signal_timestamp_ms", "ttl_ms", "created_at_ms"), 0) | {
    "confidence": 0.0,
    "leverage": 1.0,
    "settings_version": 0.0,
}
_WORDS = ("timeframe", "position_type", "btc_trend", "status", "entry_order")
_TEXTS = ("account", "symbol", "strategy")
_NUMBERS = [name for name, dtype in ENTRY_SIGNALS.dtypes.items() if getattr(dtype, "kind", "") in "if"]

CHANGES: list[dict[str, object]] = [
    {},
    *({name: None} for name in ENTRY_SIGNALS.columns),
    *({name: math.nan} for name in _NUMBERS),
    *({name: value} for name, value in _BELOW.items()),
    *({name: value} for name, value in _LIMITS.items()),
    *({name: "something else"} for name in _WORDS),
    *({name: ""} for name in _TEXTS),
    *({name: math.inf} for name in ("entry_price", "confidence", "rsi")),
    *({name: -math.inf} for name in ("entry_price", "limit_price", "funding_rate")),
    {"confidence": 100.0},
    {"confidence": 100.001},
    {"entry_order": "post-only", "limit_price": 99.0, "limit_until_ms": 1.0},
    {"btc_trend": "BULLISH", "reason": "", "exit_plan": "{}"},
    *({name: "words"} for name in _NUMBERS),
]


def pandera_refuses(*rows: dict[str, object]) -> bool:
    try:
        ENTRY_SIGNALS.model.validate(ENTRY_SIGNALS.conform(pd.DataFrame(rows)), lazy=True)
    except (DataError, pandera.errors.SchemaErrors):
        return True
    return False


@pytest.mark.slow
def test_plain_comparisons_and_pandera_refuse_the_same_signals() -> None:
    rows = [GOOD | change for change in CHANGES]
    found = [(row, bool(ENTRY_SIGNALS.faults([row])), pandera_refuses(row)) for row in rows]
    assert [one for one in found if one[1] is not one[2]] == []
    assert sum(plain for _, plain, _ in found) > 60
    assert not found[0][1]


def test_two_signals_of_one_id_are_refused_by_both() -> None:
    assert pandera_refuses(GOOD, GOOD) and ENTRY_SIGNALS.faults([GOOD, GOOD]) == ["signal_id is there 2 times"]


def test_a_column_that_is_missing_or_unknown_is_refused_by_both() -> None:
    more, less = {**GOOD, "more": 1}, {name: value for name, value in GOOD.items() if name != "confidence"}
    assert ENTRY_SIGNALS.faults([more]) == ["its columns differ: ['more']"] and pandera_refuses(more)
    assert ENTRY_SIGNALS.faults([less]) == ["its columns differ: ['confidence']"] and pandera_refuses(less)


def test_a_check_without_a_plain_form_is_no_check_that_passes() -> None:
    class Unknown(pa.DataFrameModel):
        price: float = pa.Field(in_range={"min_value": 0, "max_value": 1})

    with pytest.raises(TypeError, match="in_range has no plain form"):
        PlainChecks(Unknown, {"price": pd.Series(dtype=float).dtype})
