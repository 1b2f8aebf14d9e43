"""Every gate before an order: shut or open, final or waiting, with its limit on the right side."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.models import Position, Side, Wallet
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger.risk import Cause, RiskState, StateChange
from trading_assets.trading.risk.gates import refusals
from trading_assets.trading.risk.pre_trade import Account, Candidate
from trading_assets_tests.fakes import a_ticker
from trading_assets_tests.trading.fixtures import NOW_MS, STRATEGY, a_closing, settings

D = Decimal
HOUR = NOW_MS // HOUR_MS * HOUR_MS - HOUR_MS


def wallet(equity: str = "1000", available: str = "900") -> Wallet:
    return Wallet(D(equity), D(equity), D(available), D(0), D(0), D(0))


def position(symbol: str) -> Position:
    price = D(100)
    return Position(*(symbol, Side.BUY, D(1), price, price, D(10), D(0), D(0), None, D(98), D(104), 0, NOW_MS, NOW_MS))


CANDIDATE = Candidate("BTCUSDT", STRATEGY, 80.0, D(100), HOUR, NOW_MS + 1)
TICKER = a_ticker("BTCUSDT")
ACCOUNT = Account(wallet(), (), frozenset(), D(0), D(1000), NOW_MS, frozenset({STRATEGY}))


def book(bid: str, ask: str) -> dict[str, Decimal]:
    return {"bid": D(bid), "ask": D(ask)}


def test_an_order_with_nothing_against_it_may_go_out() -> None:
    assert refusals(CANDIDATE, TICKER, ACCOUNT, settings(), NOW_MS) == []


FINAL, WAITING = True, False


@pytest.mark.parametrize(
    ("what", "changes", "gate", "final"),
    [
        ("candidate", {"ttl_ms": NOW_MS}, "expired", FINAL),
        ("candidate", {"blocked": "SCHEMA of candles/5m failed: 3 values"}, "checks", FINAL),
        ("candidate", {"ttl_ms": NOW_MS - 1}, "expired", FINAL),
        ("candidate", {"hour_ms": HOUR - 2 * HOUR_MS}, "selection", FINAL),
        ("candidate", {"hour_ms": HOUR - HOUR_MS}, None, None),
        ("candidate", {"confidence": 59.999}, "confidence", FINAL),
        ("candidate", {"confidence": float("nan")}, "confidence", FINAL),
        ("candidate", {"confidence": 60.0}, None, None),
        ("ticker", {"last": D("100.51")}, "price", WAITING),
        ("ticker", {"last": D("99.49")}, "price", WAITING),
        ("ticker", {"last": D("100.5")}, None, None),
        ("ticker", {"last": D("99.5")}, None, None),
        ("ticker", book("99.94", "100.05"), "spread", WAITING),
        ("ticker", book("0", "100"), "spread", WAITING),
        ("ticker", book("100", "0"), "spread", WAITING),
        ("ticker", book("99.95", "100.05"), None, None),
        ("ticker", {"turnover_24h": D(1000)}, "volume", WAITING),
        ("ticker", {"turnover_24h": D("1000.01")}, None, None),
        ("account", {"wallet": wallet(available="9.99")}, "margin", WAITING),
        ("account", {"wallet": wallet(available="-1")}, "margin", WAITING),
        ("account", {"wallet": wallet(available="10")}, None, None),
        ("account", {"positions": (position("BTCUSDT"),)}, "position", FINAL),
        ("account", {"occupied": frozenset({"BTCUSDT"})}, "position", FINAL),
        ("account", {"positions": (position("ETHUSDT"),), "occupied": frozenset({"XUSDT"})}, None, None),
        ("account", {"positions": tuple(position(f"S{n}") for n in range(10))}, "positions", WAITING),
        ("account", {"occupied": frozenset(f"S{n}" for n in range(10))}, "positions", WAITING),
        (
            "account",
            {"positions": tuple(position(f"S{n}") for n in range(5)), "occupied": frozenset(f"T{n}" for n in range(5))},
            "positions",
            WAITING,
        ),
        (
            "account",
            {"positions": tuple(position(f"S{n}") for n in range(9)), "occupied": frozenset(f"S{n}" for n in range(9))},
            None,
            None,
        ),
        # 950 now and 50 lost today: 5 % of the day's first 1000.
        ("account", {"wallet": wallet("950"), "realised_today": D(-50)}, "daily loss", WAITING),
        ("account", {"wallet": wallet("951"), "realised_today": D(-49)}, None, None),
        ("account", {"wallet": wallet("1100"), "realised_today": D(100)}, None, None),
        ("account", {"wallet": wallet("800")}, "drawdown", WAITING),
        ("account", {"wallet": wallet("800.01")}, None, None),
        ("account", {"wallet": wallet("1200"), "peak_equity": D(1500)}, "drawdown", WAITING),
        ("account", {"wallet": wallet("0"), "peak_equity": D(0)}, "equity", WAITING),
    ],
)
def test_each_gate_shuts_at_its_limit(
    what: str, changes: dict[str, object], gate: str | None, final: bool | None
) -> None:
    given_ = {"candidate": CANDIDATE, "ticker": TICKER, "account": ACCOUNT}
    given_[what] = replace(given_[what], **changes)
    found = refusals(given_["candidate"], given_["ticker"], given_["account"], settings(), NOW_MS)
    assert [(refusal.gate, refusal.final) for refusal in found] == ([] if gate is None else [(gate, final)])
    assert all(refusal.found for refusal in found)


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"min_confidence": 80.1}, "confidence"),
        ({"max_price_deviation_pct": D("0.1")}, "price"),
        ({"max_spread_pct": D("0.01")}, "spread"),
        ({"min_entry_volume": D(5_000_000)}, "volume"),
        ({"min_available_margin": D("900.01")}, "margin"),
        ({"max_positions": 1}, "positions"),
        ({"max_daily_loss_pct": 1.0}, "daily loss"),
        ({"max_drawdown_pct": 2.0}, "drawdown"),
        ({"max_selection_age_s": 1}, "selection"),
    ],
)
def test_each_limit_is_a_setting(changes: dict[str, object], gate: str) -> None:
    ticker = replace(TICKER, last=D("100.2"))
    account = replace(
        ACCOUNT, wallet=wallet("990"), realised_today=D(-10), positions=(position("ETHUSDT"),), peak_equity=D(1020)
    )
    assert refusals(CANDIDATE, ticker, account, settings(), NOW_MS) == []
    found = refusals(CANDIDATE, ticker, account, settings(**changes), NOW_MS)
    assert [refusal.gate for refusal in found] == [gate]


def test_every_shut_gate_is_told_in_a_fixed_order() -> None:
    worst = refusals(
        replace(CANDIDATE, confidence=1.0, ttl_ms=0, hour_ms=0),
        replace(TICKER, last=D(1), bid=D(0), turnover_24h=D(0)),
        Account(
            wallet("100", "0"),
            tuple(position(f"S{n}") for n in range(9)),
            frozenset({"BTCUSDT"}),
            D(-900),
            D(1000),
            None,
            frozenset(),
            StateChange(RiskState.HALTED, Cause.COMMAND, "storm", "me", 0),
            (a_closing(closed_ms=NOW_MS - 1),) * 5,
        ),
        settings(),
        NOW_MS,
    )
    gates = ["expired", "selection", "confidence", "price", "spread", "volume", "margin", "position"]
    gates += ["state", "reconciliation", "strategy", "positions", "share", "exposure", "total exposure"]
    gates += ["daily loss", "drawdown", "cooldown", "stops in a row", "weak symbol"]
    assert [refusal.gate for refusal in worst] == gates


@given(
    loss=st.decimals(0, 900, places=2),
    more=st.decimals(0, 50, places=2),
    deposit=st.decimals(1000, 2000, places=2),
)
def test_a_larger_loss_never_opens_a_gate(loss: Decimal, more: Decimal, deposit: Decimal) -> None:
    def shut(lost: Decimal) -> set[str]:
        account = replace(ACCOUNT, wallet=wallet(str(deposit - lost)), realised_today=-lost, peak_equity=deposit)
        return {refusal.gate for refusal in refusals(CANDIDATE, TICKER, account, settings(), NOW_MS)}

    assert shut(loss) <= shut(loss + more)
