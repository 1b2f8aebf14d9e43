"""The account's own fees: asked once, kept, and counted in place of the setting."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.backtesting.costs import costs_from
from trading_assets.core.errors import UnreadableAnswerError
from trading_assets.core.models import FeeRate
from trading_assets.core.settings import Settings
from trading_assets.ledger import fees
from trading_assets.ledger.database import Database
from trading_assets.trading.account_fees import ask_fees
from trading_assets_tests.fakes import FakeExchange


def rate(symbol: str, taker: str, maker: str = "0.0002") -> FeeRate:
    return FeeRate(symbol, Decimal(taker), Decimal(maker))


def asked(database: Database, *rates: FeeRate) -> fees.AccountFees:
    exchange = FakeExchange()
    exchange.fee_rates = lambda: list(rates)  # type: ignore[method-assign]
    return ask_fees(database, exchange, Settings(_env_file=None))  # type: ignore[call-arg]


def test_before_it_is_asked_the_setting_counts_and_then_what_the_venue_said(database: Database) -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert fees.with_own_fees(settings, database) == settings
    found = asked(database, rate("A", "0.00032"), rate("B", "0.00032"), rate("C", "0.001"))
    assert (found.taker, found.maker) == (0.00032, 0.0002)
    assert costs_from(fees.with_own_fees(settings, database)).fee == 0.00032
    assert fees.with_own_fees(settings.model_copy(update={"account": "other"}), database).taker_fee == 0.00055
    asked(database, rate("A", "0.0005"))
    assert costs_from(fees.with_own_fees(settings, database)).fee == 0.0005


def test_of_two_fees_that_are_as_frequent_the_dearer_one_is_kept(database: Database) -> None:
    assert asked(database, rate("A", "0.0004"), rate("B", "0.0006")).taker == 0.0006


def test_no_fee_at_all_is_no_fee_of_zero(database: Database) -> None:
    with pytest.raises(UnreadableAnswerError, match="told no fee"):
        asked(database)
    assert fees.read(database, "main") is None
