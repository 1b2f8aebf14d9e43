"""Number formats, cursors and parameters on the wire."""

from __future__ import annotations

import json
from decimal import Decimal
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.simulator.codec import (
    Params,
    Refusal,
    candle_rows,
    cursor_last,
    envelope,
    page,
    places_of,
    plain,
    short,
    trimmed,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.067391445", "0.06739145"),
        ("-0.435825275", "-0.43582528"),
        ("18.8870", "18.887"),
        ("0", "0"),
        ("-0.000000001", "0"),
        ("1000", "1000"),
        ("1E+3", "1000"),
    ],
)
def test_money_is_rounded_half_up_to_eight_places_and_trimmed(value: str, text: str) -> None:
    assert trimmed(Decimal(value)) == text


@given(st.decimals(-(10**12), 10**12, places=8))
def test_trimming_loses_nothing_that_eight_places_can_hold(value: Decimal) -> None:
    text = trimmed(value)
    assert Decimal(text) == value
    assert "." not in text or not text.endswith("0")
    assert "E" not in text.upper()


@pytest.mark.parametrize(("step", "places"), [("0.10", 2), ("0.001", 3), ("100", 0), ("1E+2", 0), ("0.0000001", 7)])
def test_a_steps_decimal_places_are_those_it_is_written_with(step: str, places: int) -> None:
    assert places_of(Decimal(step)) == places


def test_equal_steps_with_other_places_are_told_apart() -> None:
    assert [places_of(Decimal(step)) for step in ("0.1", "0.10", "0.100", "0.1")] == [1, 2, 3, 1]


def test_plain_numbers_have_no_exponent() -> None:
    assert plain(Decimal("1E+2")) == "100"
    assert plain(Decimal("0.0000001")) == "0.0000001"
    assert plain(Decimal("0.0100")) == "0.01"


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(*[st.integers(1, 10**9)] * 4, st.integers(0, 10**9), st.integers(0, 10**12)),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 8),
    st.integers(0, 4),
)
def test_candle_rows_are_the_exact_decimals_newest_first_without_trailing_zeros(
    rows: list[tuple[int, ...]], price_places: int, volume_places: int
) -> None:
    bars = np.array(
        [
            [
                60_000.0 * index,
                *(price / 10**price_places for price in row[:4]),
                row[4] / 10**volume_places,
                row[5] / 10**4,
            ]
            for index, row in enumerate(rows)
        ]
    )
    listed = json.loads(candle_rows(bars, price_places, volume_places))
    assert [row[0] for row in listed] == [str(60_000 * index) for index in reversed(range(len(rows)))]
    for text, row in zip(listed, reversed(rows), strict=True):
        exact = [Decimal(p).scaleb(-price_places) for p in row[:4]]
        exact += [Decimal(row[4]).scaleb(-volume_places), Decimal(row[5]).scaleb(-4)]
        assert [Decimal(item) for item in text[1:]] == exact
        assert all("e" not in item and (("." not in item) or item[-1] != "0") for item in text[1:])


def test_no_candles_are_an_empty_list() -> None:
    assert candle_rows(np.empty((0, 7)), 2, 3) == "[]"


def test_short_numbers_are_rounded_and_trimmed() -> None:
    assert (short(1.5000, 4), short(2.0, 3), short(0.00012, 5)) == ("1.5", "2", "0.00012")


def test_a_cursor_is_understood_raw_encoded_and_encoded_twice() -> None:
    rows = [(f"id-{n}:17{n}", n) for n in range(5)]
    first, cursor = page(rows, 2, "")
    assert first == [0, 1]
    assert "%3A" in cursor and "%2C" in cursor
    for form in ("id-0:170,id-1:171", cursor, quote(cursor, safe="")):
        assert page(rows, 2, form)[0] == [2, 3]


def test_the_last_page_carries_a_cursor_and_the_page_behind_it_is_empty() -> None:
    rows = [("a:1", 1), ("b:2", 2)]
    chosen, cursor = page(rows, 10, "")
    assert chosen == [1, 2] and cursor
    assert page(rows, 10, cursor) == ([], "")


@pytest.mark.parametrize("cursor", ["nonsense", "a:1,", "x:1,y:2", "%", "🙂,🙂"])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Refusal) as caught:
        page([("a:1", 1)], 10, cursor)
    assert caught.value.code == 10001


@given(st.lists(st.integers(), unique=True, max_size=40), st.integers(1, 7))
def test_following_cursors_visits_every_row_once_in_order(numbers: list[int], limit: int) -> None:
    rows = [(f"{number}:x", number) for number in numbers]
    seen: list[int] = []
    cursor = ""
    while True:
        chosen, cursor = page(rows, limit, cursor)
        if not chosen:
            break
        seen += chosen
    assert seen == numbers


def test_the_envelope_is_json_whatever_the_message() -> None:
    body = json.loads(envelope({}, 5, 10001, 'bad "quote" \n ü'))
    assert body == {"retCode": 10001, "retMsg": 'bad "quote" \n ü', "result": {}, "retExtInfo": {}, "time": 5}


@pytest.mark.parametrize("text", ["abc", "1.5", "--3", "٣", "9" * 30, "nan"])
def test_what_is_no_integer_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        Params({"n": text}).integer("n")


@pytest.mark.parametrize("text", ["abc", "NaN", "Infinity", "1e999", "1" * 80, "1e16", "-1e30", "1e-16"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        Params({"n": text}).decimal("n")


def test_json_numbers_are_taken_as_their_text() -> None:
    params = Params({"n": 7, "f": 3.0, "s": " "})
    assert (params.integer("n"), params.integer("f"), params.decimal("f")) == (7, 3, Decimal("3.0"))
    assert cursor_last("a,b") == "b"


@pytest.mark.parametrize("value", [[1], {"a": 1}, True])
def test_a_list_or_object_where_text_belongs_is_refused(value: object) -> None:
    with pytest.raises(Refusal):
        Params({"symbol": value}).text("symbol")
