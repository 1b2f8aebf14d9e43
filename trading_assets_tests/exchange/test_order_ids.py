"""Ids of our orders at Bybit: what the venue takes, one for each signal and kind, and the same for ever."""

import re

from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.timeframes import MINUTE_MS, TRADED_TIMEFRAMES
from trading_assets.exchange.bybit import BybitOrderIds
from trading_assets.trading.decide.entry import signal_id

IDS = BybitOrderIds()
SIGNALS = st.builds(
    signal_id,
    st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True),
    st.sampled_from(["BTCUSDT", "1000PEPEUSDT", "ETHUSDT"]),
    st.sampled_from(TRADED_TIMEFRAMES),
    st.sampled_from(["bollinger_rsi", "fibonacci_bollinger"]),
    st.integers(0, 2**42).map(lambda minute: minute * MINUTE_MS),
)
KINDS = st.sampled_from(["e", "x", "x2", "x60", "f1", "f20"])


@given(SIGNALS, KINDS)
def test_an_order_id_is_one_that_the_venue_takes(signal: str, kind: str) -> None:
    link = IDS.encode(signal, kind)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,36}", link)
    assert link == IDS.encode(signal, kind)
    assert IDS.is_entry(link) == (kind == "e")


@given(SIGNALS, SIGNALS, KINDS, KINDS)
def test_other_signals_and_other_kinds_have_other_ids(one: str, other: str, kind: str, other_kind: str) -> None:
    assert (IDS.encode(one, kind) == IDS.encode(other, other_kind)) == ((one, kind) == (other, other_kind))


def test_an_order_id_never_changes_between_versions() -> None:
    assert IDS.encode("main:BTCUSDT:60m:bollinger_rsi:1800000000000") == "ta-e-aS7hNrV5fK2zNUyfGbePR8BB"


def test_ids_of_others_are_not_ours() -> None:
    assert not any(map(IDS.is_entry, ("", "ta", "ta-x-abc", "tae", "e-ta-abc")))
