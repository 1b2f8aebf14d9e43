"""What becomes of a waiting signal is decided without an exchange or a ledger."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from trading_assets.core.models import Wallet
from trading_assets.trading.execute.plan import Entry, Market, Refused, plan_entry
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
    assert (unlisted.outcome, unlisted.refusals) == (Refused("BTCUSDT is not listed", final=True), None)
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
