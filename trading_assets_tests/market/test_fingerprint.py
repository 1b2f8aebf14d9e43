"""A window's hash is that of its rows alone, and of all of them."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.timeframes import MINUTE_MS, Timeframe
from trading_assets.market.fingerprint import window_hashes
from trading_assets_tests.market.hashes import content_hash


def candles(count: int, seed: int = 0) -> Candles:
    values = np.random.default_rng(seed).uniform(0.5, 2.0, (6, count))
    return Candles(Timeframe.M1, MINUTE_MS * np.arange(count, dtype=np.int64), *values)


@settings(max_examples=50)
@given(st.integers(0, 30), st.data())
def test_a_window_has_the_hash_of_its_rows_cut_out(count: int, data: st.DataObject) -> None:
    rows = candles(count)
    bounds = data.draw(st.lists(st.tuples(st.integers(0, count), st.integers(0, count)).map(sorted), max_size=6))
    low, high = np.array([b[0] for b in bounds], dtype=int), np.array([b[1] for b in bounds], dtype=int)
    hashes = window_hashes(rows, low, high)
    assert hashes == [content_hash(rows.select(slice(*bound))) for bound in bounds]
    funding = Funding(rows.start_ms, rows.close)
    cut = [content_hash(Funding(funding.time_ms[a:b], funding.rate[a:b])) for a, b in bounds]
    assert window_hashes(funding, low, high) == cut


@settings(max_examples=50)
@given(st.integers(0, 19), st.sampled_from([field.name for field in fields(Candles)][1:]), st.integers(0, 62))
def test_any_bit_of_any_value_changes_the_hash(row: int, column: str, bit: int) -> None:
    rows = candles(20)
    changed = getattr(rows, column).copy()
    changed.view(np.uint64)[row] ^= np.uint64(1 << bit)
    assert content_hash(replace(rows, **{column: changed})) != content_hash(rows)


def test_what_is_left_out_or_exchanged_or_of_another_timeframe_has_another_hash() -> None:
    rows = candles(20)
    swapped = replace(rows, open=rows.close, close=rows.open)
    exchanged = replace(rows, close=rows.close[[1, 0, *range(2, 20)]])
    others = [rows.select(slice(1, 20)), rows.select(slice(0, 19)), rows.select(slice(0, 0)), swapped, exchanged]
    others.append(replace(rows, timeframe=Timeframe.M3))
    hashes = {content_hash(each) for each in (rows, *others)}
    assert len(hashes) == 1 + len(others)
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in hashes)


def test_the_hash_is_the_same_in_every_release() -> None:
    assert content_hash(Funding(np.array([1, 2]), np.array([0.5, -0.25]))) == "d15ff9a0df73146a"
