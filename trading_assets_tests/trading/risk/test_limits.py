"""The account's limits and the pauses after losses: tables of what was found and which gate shuts."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.models import Position, Rows, Side, UnreadableRow, Wallet
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, floor_ms
from trading_assets.ledger.executions import Closing
from trading_assets.ledger.risk import Cause, RiskState, StateChange
from trading_assets.trading.risk.limits import drawdown_pct, limits, loss_counts_from_ms, losses_reached
from trading_assets.trading.risk.pre_trade import Account, Candidate
from trading_assets.trading.risk.protections import protections
from trading_assets_tests.trading.fixtures import NOW_MS, STRATEGY, a_closing, settings

D = Decimal
SECOND = 1000


def wallet(equity: int | str) -> Wallet:
    return Wallet(D(equity), D(equity), D(equity), D(0), D(0), D(0))


def position(symbol: str, size: int | str, mark: int = 100) -> Position:
    price = D(100)
    return Position(
        symbol, Side.BUY, D(size), price, D(mark), D(10), D(0), D(0), None, D(98), D(104), 0, NOW_MS, NOW_MS
    )


CANDIDATE = Candidate("BTCUSDT", STRATEGY, 80.0, D(100), 0, NOW_MS + 1)
ACCOUNT = Account(wallet(1000), (), frozenset(), D(0), D(1000), NOW_MS, frozenset({STRATEGY}))


def state(name: str, until_ms: int | None = None) -> StateChange:
    return StateChange(RiskState(name), Cause.COMMAND, "storm", "ann", NOW_MS, until_ms)


@pytest.mark.parametrize(
    ("account", "changes", "shut"),
    [
        ({}, {}, []),
        ({"state": state("ACTIVE")}, {}, []),
        ({"state": state("REDUCING")}, {}, [("state", False)]),
        ({"state": state("HALTED")}, {}, [("state", True)]),
        ({"state": state("HALTED", NOW_MS + 1)}, {}, [("state", True)]),
        ({"state": state("HALTED", NOW_MS)}, {}, []),
        ({"reconciled_ms": None}, {}, [("reconciliation", False)]),
        ({"reconciled_ms": NOW_MS - 900 * SECOND - 1}, {}, [("reconciliation", False)]),
        ({"reconciled_ms": NOW_MS - 900 * SECOND}, {}, []),
        ({"active_strategies": frozenset()}, {}, [("strategy", True)]),
        # What orders that wait may still fill counts in full, beside a position of the same coin, too.
        ({"resting": {"ETHUSDT": D(1901)}, "occupied": frozenset({"ETHUSDT"})}, {}, [("total exposure", False)]),
        ({"resting": {"ETHUSDT": D(1900)}, "occupied": frozenset({"ETHUSDT"})}, {}, []),
        (
            {
                "resting": {"ETHUSDT": D(1001)},
                "occupied": frozenset({"ETHUSDT"}),
                "positions": (position("ETHUSDT", 9),),
            },
            {},
            [("total exposure", False)],
        ),
        # Rows that cannot be read: the last known value counts, and the coin itself is not entered.
        ({"hidden": {"ETHUSDT": D(1901)}}, {}, [("total exposure", False)]),
        ({"hidden": {"BTCUSDT": D(151)}}, {}, [("exposure", False)]),
        ({"hidden": {f"C{number}USDT": D(1) for number in range(10)}}, {}, [("positions", False)]),
        ({"positions": Rows((), [UnreadableRow("BTCUSDT", "no size")])}, {}, [("positions", False)]),
        ({"positions": Rows((), [UnreadableRow("ETHUSDT", "no size")])}, {}, []),
        ({"active_strategies": frozenset({"another"})}, {}, [("strategy", True)]),
        # Margin $10 behind $100: 2 % of $500.
        ({"wallet": wallet(500), "peak_equity": D(500)}, {}, []),
        ({"wallet": wallet("499.99"), "peak_equity": D(500)}, {}, [("share", False)]),
        ({}, {"sizing": "margin", "max_symbol_exposure_pct": 500, "max_total_exposure_pct": 500}, [("share", False)]),
        ({}, {"leverage": D(20)}, [("leverage", True)]),
        ({}, {"leverage": D(20), "max_leverage": D(20)}, []),
        ({"positions": (position("BTCUSDT", "1.5"),)}, {}, []),
        ({"positions": (position("BTCUSDT", "1.51"),)}, {}, [("exposure", False)]),
        ({"positions": (position("BTCUSDT", "1.5", mark=101),)}, {}, [("exposure", False)]),
        ({"positions": (position("ETHUSDT", 19),)}, {}, []),
        ({"positions": (position("ETHUSDT", "19.01"),)}, {}, [("total exposure", False)]),
        # An order of ours without a position yet counts as a whole one.
        ({"positions": (position("ETHUSDT", 18),), "occupied": frozenset({"ETHUSDT", "XUSDT"})}, {}, []),
        (
            {"positions": (position("ETHUSDT", "18.01"),), "occupied": frozenset({"ETHUSDT", "XUSDT"})},
            {},
            [("total exposure", False)],
        ),
        ({"wallet": wallet(950), "realised_today": D(-50)}, {}, [("daily loss", False)]),
        ({"wallet": wallet(800)}, {}, [("drawdown", False)]),
        ({"wallet": wallet(0), "peak_equity": D(0)}, {}, [("equity", False)]),
    ],
)
def test_each_limit_shuts_where_it_should(
    account: dict[str, object], changes: dict[str, object], shut: list[tuple[str, bool]]
) -> None:
    found = limits(CANDIDATE, replace(ACCOUNT, **account), settings(**changes), NOW_MS)  # type: ignore[arg-type]
    assert [(refusal.gate, refusal.final) for refusal in found] == shut
    assert all(refusal.found for refusal in found)


def test_a_refusal_by_state_says_who_and_why() -> None:
    (refusal,) = limits(CANDIDATE, replace(ACCOUNT, state=state("HALTED")), settings(), NOW_MS)
    assert str(refusal) == "state: HALTED by ann: storm"
    assert refusal.of_account


@pytest.mark.parametrize(
    ("equity", "today", "peak", "causes"),
    [
        (1000, 0, 1000, []),
        (951, -49, 1000, []),
        (950, -50, 1000, [Cause.DAILY_LOSS]),
        (801, 0, 1000, []),
        (800, 0, 1000, [Cause.DRAWDOWN]),
        (700, -300, 1000, [Cause.DAILY_LOSS, Cause.DRAWDOWN]),
        (1200, 200, 1000, []),
        (0, -1000, 1000, [Cause.DAILY_LOSS, Cause.DRAWDOWN]),
        (-50, -40, 0, [Cause.DAILY_LOSS]),
    ],
)
def test_limits_of_loss_are_reached_at_their_share(equity: int, today: int, peak: int, causes: list[Cause]) -> None:
    found = losses_reached(D(equity), D(today), D(peak), settings=settings())
    assert [reached.cause for reached in found] == causes


@pytest.mark.parametrize(
    ("equity", "peak", "expected"), [(80, 100, -20.0), (100, 80, 0.0), (0, 0, 0.0), (-10, 100, -110.0)]
)
def test_a_drawdown_is_a_share_of_the_peak(equity: int, peak: int, expected: float) -> None:
    assert drawdown_pct(D(equity), D(peak)) == pytest.approx(expected)


def test_todays_loss_counts_from_midnight_or_from_the_resume_that_accepted_it() -> None:
    midnight = floor_ms(NOW_MS, DAY_MS)
    halt = StateChange(RiskState.HALTED, Cause.DAILY_LOSS, "lost", "risk guard", midnight + 1, midnight + DAY_MS)
    resume = StateChange(RiskState.ACTIVE, Cause.COMMAND, "go", "ann", midnight + 5)
    assert loss_counts_from_ms([], NOW_MS) == midnight
    assert loss_counts_from_ms([halt], NOW_MS) == midnight
    assert loss_counts_from_ms([halt, resume], NOW_MS) == midnight + 5
    assert loss_counts_from_ms([halt, resume], NOW_MS + DAY_MS) == midnight + DAY_MS


def closed(age_s: int, reason: str = "stop", symbol: str = "BTCUSDT", pnl: int | str = -2) -> Closing:
    return a_closing(symbol, reason, closed_ms=NOW_MS - age_s * SECOND, pnl=D(pnl))


FIVE_STOPS = [closed(age, symbol=f"S{age}") for age in (5000, 4000, 3000, 2000, 1000)]


@pytest.mark.parametrize(
    ("closings", "changes", "gates"),
    [
        ([], {}, []),
        ([closed(899)], {}, ["cooldown"]),
        ([closed(900)], {}, []),
        *(([closed(1, reason=reason)], {}, []) for reason in ("liquidation", "adl", "settlement")),
        ([closed(1, reason="target", pnl=4)], {}, []),
        ([closed(1, reason="other")], {}, []),
        ([closed(1, symbol="ETHUSDT")], {}, []),
        ([closed(60)], {"cooldown_after_stop_s": 60}, []),
        ([closed(60)], {"cooldown_after_stop_s": 61}, ["cooldown"]),
        (FIVE_STOPS, {}, ["stops in a row"]),
        (FIVE_STOPS[:4], {}, []),
        (FIVE_STOPS, {"max_stops_in_a_row": 6}, []),
        (FIVE_STOPS, {"pause_after_stops_s": 1000}, []),
        (FIVE_STOPS, {"pause_after_stops_s": 1001}, ["stops in a row"]),
        ([closed(1500, reason="liquidation", symbol="E"), *FIVE_STOPS[1:]], {}, []),
        ([*FIVE_STOPS[:4], closed(1500, reason="target", symbol="E", pnl=4), FIVE_STOPS[4]], {}, []),
        ([closed(5000 - n, reason="other") for n in range(4)], {}, ["weak symbol"]),
        ([closed(5000 - n, reason="other") for n in range(3)], {}, []),
        ([*(closed(5000 - n, reason="other") for n in range(3)), closed(4000, reason="target", pnl=6)], {}, []),
        ([closed(5000 - n, reason="other", symbol="ETHUSDT") for n in range(9)], {}, []),
        ([closed(25 * 3600 - n, reason="other") for n in range(9)], {}, []),
        ([closed(5000 - n, reason="other") for n in range(4)], {"weak_symbol_hours": 0}, []),
        ([closed(5000 - n, reason="other") for n in range(4)], {"weak_symbol_min_pnl": -8}, []),
        ([closed(5000 - n, reason="other") for n in range(2)], {"weak_symbol_trades": 2}, ["weak symbol"]),
    ],
)
def test_losses_pause_a_symbol_or_the_account(
    closings: list[Closing], changes: dict[str, object], gates: list[str]
) -> None:
    found = protections("BTCUSDT", closings, settings(**changes), NOW_MS)
    assert [refusal.gate for refusal in found] == gates
    assert not any(refusal.final for refusal in found)
    assert all(refusal.of_account == (refusal.gate == "stops in a row") for refusal in found)


def test_a_pause_ends_by_itself() -> None:
    until = NOW_MS - 1000 * SECOND + HOUR_MS
    assert protections("X", FIVE_STOPS, settings(), until - 1)
    assert not protections("X", FIVE_STOPS, settings(), until)
