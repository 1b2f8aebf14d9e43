"""What becomes of a waiting signal is decided without an exchange or a ledger."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.models import Wallet
from trading_assets.trading.decide.sizing import levels_on_tick
from trading_assets.trading.execute.plan import Entry, Limit, Market, Refused, plan_entry
from trading_assets.trading.risk.pre_trade import Account
from trading_assets_tests.fakes import a_ticker, an_instrument
from trading_assets_tests.trading.fixtures import NOW_MS, STRATEGY, settings, signal_row

D = Decimal
MARKET = Market({"BTCUSDT": an_instrument("BTCUSDT")}, {"BTCUSDT": a_ticker("BTCUSDT")}, 0, {})
WALLET = Wallet(D(1000), D(1000), D(900), D(0), D(0), D(0))
ACCOUNT = Account(WALLET, (), frozenset(), D(0), D(1000), NOW_MS, frozenset({STRATEGY}))


def test_a_signal_that_passes_every_gate_gets_its_size() -> None:
    plan = plan_entry(signal_row(), MARKET, ACCOUNT, settings(), NOW_MS)
    assert isinstance(plan.outcome, Entry)
    assert (plan.outcome.size.qty, plan.outcome.price, plan.refusals) == (D(1), D(100), ())


def test_without_a_contract_or_a_ticker_no_gate_is_asked() -> None:
    unlisted = plan_entry(signal_row(), replace(MARKET, instruments={}), ACCOUNT, settings(), NOW_MS)
    assert (unlisted.outcome, unlisted.refusals) == (Refused("BTCUSDT is not listed", final=False), None)
    silent = plan_entry(signal_row(), replace(MARKET, tickers={}), ACCOUNT, settings(), NOW_MS)
    assert silent.outcome == Refused("the exchange has no ticker of BTCUSDT", final=False)
    assert silent.refusals is None


def test_one_final_refusal_among_others_is_final() -> None:
    row, poor = signal_row(), replace(ACCOUNT, wallet=replace(WALLET, available=D(0)))
    waits = plan_entry(row, MARKET, poor, settings(), NOW_MS)
    assert isinstance(waits.outcome, Refused) and not waits.outcome.final
    assert waits.outcome.reason.startswith("margin: ")
    blocked = replace(MARKET, blocked={str(row["signal_id"]): "a check failed"})
    ends = plan_entry(row, blocked, poor, settings(), NOW_MS)
    assert isinstance(ends.outcome, Refused) and ends.outcome.final
    assert ends.refusals is not None and [refusal.gate for refusal in ends.refusals] == ["checks", "margin"]


def test_a_size_that_the_venue_refuses_is_final_after_the_gates_were_asked() -> None:
    tiny = replace(MARKET, instruments={"BTCUSDT": an_instrument("BTCUSDT", max_market_qty=D("0.5"))})
    plan = plan_entry(signal_row(), tiny, ACCOUNT, settings(), NOW_MS)
    assert isinstance(plan.outcome, Refused) and plan.outcome.final and plan.refusals == ()


def test_a_size_by_risk_is_that_of_the_price_it_is_ordered_at_and_the_limits_know_it() -> None:
    wide = {"size_by": "risk", "max_position_margin_pct": 100, "max_symbol_exposure_pct": 1000}
    row = signal_row(stop_loss=98.0)
    plan = plan_entry(row, MARKET, ACCOUNT, settings(**wide, max_total_exposure_pct=1000), NOW_MS)
    assert isinstance(plan.outcome, Entry)
    # 1 % of $1000 is lost 2 % away.
    assert (plan.outcome.size.qty, plan.outcome.why_size) == (D(5), "1 % of $1000.00 at risk, the stop 2.000 % away")
    waits = row | {"entry_order": "limit", "limit_price": 99.0, "limit_until_ms": float(NOW_MS + 1)}
    plan = plan_entry(waits, MARKET, ACCOUNT, settings(**wide, max_total_exposure_pct=1000), NOW_MS)
    assert isinstance(plan.outcome, Entry)
    assert plan.outcome.size.qty == D(10) and plan.outcome.price == 99
    plan = plan_entry(row, MARKET, ACCOUNT, settings(**wide, max_total_exposure_pct=40), NOW_MS)
    assert isinstance(plan.outcome, Refused) and "all would be 50.0 % of equity" in plan.outcome.reason
    fixed = plan_entry(row, MARKET, ACCOUNT, settings(), NOW_MS)
    assert isinstance(fixed.outcome, Entry) and fixed.outcome.why_size is None


def test_an_entry_that_waits_is_sized_at_its_price_and_follows_the_market_as_far_as_one_at_the_market_may_be() -> None:
    until = {"limit_until_ms": float(NOW_MS + 1)}
    for kind, chase in (("limit", None), ("post-only", None), ("chase", D("100.5"))):
        row = signal_row(entry_order=kind, limit_price=80.0, **until)
        plan = plan_entry(row, MARKET, ACCOUNT, settings(), NOW_MS)
        assert isinstance(plan.outcome, Entry)
        assert (plan.outcome.size.qty, plan.outcome.price) == (D("1.25"), D("80.0"))
        assert plan.outcome.limit == Limit(D("80.0"), kind == "post-only", NOW_MS + 1, chase)
    short = signal_row(entry_order="chase", limit_price=101.0, position_type="SHORT", **until)
    plan = plan_entry(short, MARKET, ACCOUNT, settings(), NOW_MS)
    assert isinstance(plan.outcome, Entry) and plan.outcome.limit is not None
    assert plan.outcome.limit.chase_price == D("99.5")
    at_market = plan_entry(signal_row(entry_order="market"), MARKET, ACCOUNT, settings(), NOW_MS)
    assert isinstance(at_market.outcome, Entry) and at_market.outcome.limit is None
    over = plan_entry(row | {"limit_until_ms": float(NOW_MS)}, MARKET, ACCOUNT, settings(), NOW_MS)
    assert isinstance(over.outcome, Refused) and over.outcome.final


@pytest.mark.parametrize(
    ("side", "tick", "stop", "target"),
    [
        ("LONG", "0.1", "98.3", "103.7"),  # the tick of the signal: nothing changes
        ("LONG", "0.5", "98.5", "103.5"),
        ("LONG", "3", "99", "102"),  # finer or coarser, towards the price
        ("SHORT", "0.5", "101.5", "96.5"),
        ("SHORT", "3", "99", "99"),
    ],
)
def test_levels_are_on_the_tick_of_now_and_risk_no_more_than_the_signal(
    side: str, tick: str, stop: str, target: str
) -> None:
    meant = {"LONG": {"stop_loss": 98.3, "take_profit": 103.7}, "SHORT": {"stop_loss": 101.7, "take_profit": 96.3}}
    market = replace(MARKET, instruments={"BTCUSDT": an_instrument("BTCUSDT", tick_size=D(tick))})
    outcome = plan_entry(signal_row(position_type=side, **meant[side]), market, ACCOUNT, settings(), NOW_MS).outcome
    if D(stop) == 99 and side == "SHORT":  # both levels would stand at one price
        assert isinstance(outcome, Refused) and outcome.final
        assert "on the contract's new tick 3 its stop 101.7 is 99 and its target 96.3 is 99" in outcome.reason
        return
    assert isinstance(outcome, Entry)
    assert (outcome.stop_loss, outcome.take_profit) == (D(stop), D(target))


def test_the_price_of_an_entry_that_waits_is_on_the_tick_of_now_and_no_worse() -> None:
    market = replace(MARKET, instruments={"BTCUSDT": an_instrument("BTCUSDT", tick_size=D("0.4"))})
    row = signal_row() | {"entry_order": "limit", "limit_price": 99.9, "limit_until_ms": float(NOW_MS + 1)}
    outcome = plan_entry(row, market, ACCOUNT, settings(), NOW_MS).outcome
    assert isinstance(outcome, Entry) and outcome.limit is not None and outcome.limit.price == D("99.6")


@given(
    levels=st.tuples(st.decimals("0.01", "1000", places=4), st.decimals("0.01", "1000", places=4)),
    tick=st.sampled_from(["0.0001", "0.01", "0.05", "0.7", "1", "7"]).map(D),
    long=st.booleans(),
)
def test_levels_go_towards_the_price_by_less_than_a_tick(
    levels: tuple[Decimal, Decimal], tick: Decimal, long: bool
) -> None:
    stop, target = levels
    sign = 1 if long else -1
    new_stop, new_target = levels_on_tick(stop, target, tick, long=long)
    assert new_target is not None
    assert not new_stop % tick and not new_target % tick
    assert 0 <= sign * (new_stop - stop) < tick and 0 <= sign * (target - new_target) < tick
    assert levels_on_tick(new_stop, new_target, tick, long=long) == (new_stop, new_target)
