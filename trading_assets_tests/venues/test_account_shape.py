"""The account's shape: what can be traded, what is set, and what is said of the rest."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.errors import AccountShapeError
from trading_assets.core.models import AccountShape, MarginMode, OrderRequest, PositionMode, Side
from trading_assets.core.ports import VenueSymbols
from trading_assets.venues.accounts import (
    AccountChange,
    examine_account,
    judge_account,
    prepare_account,
    require_tradable_account,
    settle_coins_held,
)
from trading_assets_tests.fakes import FakeExchange, an_instrument

SYMBOLS = VenueSymbols(btc="BTCUSDT", settle_coin="USDT")
GOOD = AccountShape("7", unified=True, margin_mode=MarginMode.CROSS, position_mode=PositionMode.ONE_WAY)


@pytest.mark.parametrize(
    ("changes", "fault", "to_set"),
    [
        ({}, None, ()),
        ({"unified": False}, "classic account", ()),
        ({"margin_mode": MarginMode.PORTFOLIO}, "portfolio margin", ()),
        ({"margin_mode": MarginMode.OTHER}, "margin mode is not known", ()),
        ({"margin_mode": MarginMode.ISOLATED}, None, (AccountChange.CROSS,)),
        ({"position_mode": PositionMode.HEDGE}, "hedge mode", (AccountChange.ONE_WAY,)),
    ],
)
def test_each_shape_is_traded_or_refused_in_one_sentence(
    changes: dict[str, object], fault: str | None, to_set: tuple[AccountChange, ...]
) -> None:
    exchange = FakeExchange("BTCUSDT")
    exchange.shape = replace(GOOD, **changes)  # type: ignore[arg-type]
    verdict = judge_account(exchange.shape, "BTCUSDT")
    assert verdict.changes == to_set
    if fault is None:
        assert require_tradable_account(exchange, SYMBOLS).faults == ()
        return
    [sentence] = verdict.faults
    assert fault in sentence
    with pytest.raises(AccountShapeError, match=f"the account cannot be traded: .*{fault}"):
        require_tradable_account(exchange, SYMBOLS)


def test_isolated_margin_is_traded_and_explained() -> None:
    [warning] = judge_account(replace(GOOD, margin_mode=MarginMode.ISOLATED), "BTCUSDT").warnings
    assert "isolated margin" in warning


def test_preparing_sets_what_differs_and_nothing_else() -> None:
    exchange = FakeExchange("BTCUSDT")
    exchange.shape = replace(GOOD, margin_mode=MarginMode.ISOLATED, position_mode=PositionMode.HEDGE)
    after = prepare_account(exchange, SYMBOLS, examine_account(exchange, SYMBOLS).changes)
    assert (exchange.shape, after.faults, after.changes) == (GOOD, (), ())
    assert prepare_account(exchange, SYMBOLS, after.changes) == after
    assert (exchange.calls["set_one_way"], exchange.calls["set_cross_margin"]) == (1, 1)


def test_what_stands_in_the_way_is_named() -> None:
    exchange = FakeExchange("BTCUSDT", "ETHUSDT", "SOLUSDT")
    exchange.shape = replace(GOOD, position_mode=PositionMode.HEDGE)
    exchange.open_foreign("ETHUSDT")
    stop = OrderRequest("SOLUSDT", Side.SELL, Decimal(1), "stop-1", trigger_price=Decimal(90), reduce_only=True)
    exchange.open_foreign("SOLUSDT")
    exchange.place_order(stop)
    exchange.fail("set_one_way", AccountShapeError("Position exists", code=110024))
    with pytest.raises(AccountShapeError, match="ETHUSDT, SOLUSDT"):
        prepare_account(exchange, SYMBOLS, (AccountChange.ONE_WAY, AccountChange.CROSS))


def test_a_venue_that_leaves_open_legs_as_they_are_is_not_taken_for_success() -> None:
    exchange = FakeExchange("BTCUSDT", "LTCUSDT")
    exchange.open_foreign("LTCUSDT")
    exchange.open["LTCUSDT"] = replace(exchange.open["LTCUSDT"], position_idx=2)
    with pytest.raises(AccountShapeError, match="LTCUSDT"):
        prepare_account(exchange, SYMBOLS, (AccountChange.ONE_WAY,))


def test_a_leg_of_another_contract_is_told_and_can_be_mended() -> None:
    exchange = FakeExchange("BTCUSDT", "LTCUSDT")
    exchange.open_foreign("LTCUSDT")
    exchange.open["LTCUSDT"] = replace(exchange.open["LTCUSDT"], position_idx=1)
    verdict = examine_account(exchange, SYMBOLS)
    assert verdict.faults == ()
    assert "LTCUSDT" in verdict.warnings[0]
    assert verdict.changes == (AccountChange.ONE_WAY,)


def test_positions_are_told_by_settle_coin() -> None:
    exchange = FakeExchange("BTCUSDT", "BTCPERP", "GONEUSDT")
    exchange.listed["BTCPERP"] = an_instrument("BTCPERP", settle_coin="USDC")
    for symbol in ("BTCUSDT", "BTCPERP", "GONEUSDT"):
        exchange.open_foreign(symbol)
    del exchange.listed["GONEUSDT"]
    assert settle_coins_held(exchange) == {"USDC": ("BTCPERP",), "USDT": ("BTCUSDT",), "unknown": ("GONEUSDT",)}
