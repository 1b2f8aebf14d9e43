"""The ways in which Bybit says "no value", and what is no number."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.exchange import fields


@pytest.mark.parametrize("text", ["", None, "0", "0.00", "0E-8"])
def test_what_is_not_set_is_zero_or_none(text: str | None) -> None:
    assert fields.decimal({"x": text}, "x") == 0
    assert fields.positive({"x": text}, "x") is None
    assert fields.milliseconds({"x": text}, "x") == 0
    assert fields.decimal({}, "x") == 0


@pytest.mark.parametrize("text", ["abc", "1,5", "--", "1.2.3"])
def test_what_is_no_number_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(ExchangeUnavailableError, match="expected a number"):
        fields.decimal({"x": text}, "x")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_what_is_not_finite_is_no_number(text: str) -> None:
    with pytest.raises(ExchangeUnavailableError, match="expected a number"):
        fields.decimal({"x": text}, "x")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=12))
def test_a_number_is_read_exactly(value: Decimal) -> None:
    assert fields.decimal({"x": str(value)}, "x") == value
