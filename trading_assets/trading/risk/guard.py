"""The risk guard: asks every gate, halts trading when a limit of loss is reached, tells a human once of each refusal.

It fails closed: what cannot be read or written raises, and then nothing is opened. What the states mean is in
`ledger.risk`, the limits in `risk_limits`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from trading_assets.core.models import Ticker
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, floor_ms, iso
from trading_assets.ledger import account as books
from trading_assets.ledger import risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState, StateChange
from trading_assets.trading.risk.gates import refusals
from trading_assets.trading.risk.limits import loss_counts_from_ms, losses_reached
from trading_assets.trading.risk.pre_trade import Account, Candidate, Refusal

Notify = Callable[[str, str], None]

GUARD = "risk guard"
_TOLD_WHEN_HALTED = frozenset({"state", Cause.DAILY_LOSS.value, Cause.DRAWDOWN.value})


def admit(
    database: Database,
    settings: Settings,
    notify: Notify,
    *,
    candidate: Candidate,
    ticker: Ticker,
    account: Account,
    now_ms: int,
    told: bool,
) -> list[Refusal]:
    """Every refusal of an order; empty means it may go out.

    Args:
        told: whether this signal was refused before: then it is told of no more.

    Raises:
        StorageError: the ledger cannot be written, so a limit that is reached could not be kept.
    """
    found = refusals(candidate, ticker, account, settings, now_ms)
    equity, today, peak = account.wallet.equity, account.realised_today, account.peak_equity
    halt_at_limits(database, settings, notify, equity=equity, realised_today=today, peak_equity=peak, now_ms=now_ms)
    _tell_of_account(database, settings.account, notify, found, now_ms)
    of_signal = [refusal for refusal in found if not refusal.of_account]
    if of_signal and not told:
        notify(f"entry in {candidate.symbol} refused", "; ".join(map(str, of_signal)))
    return found


def watch(database: Database, settings: Settings, notify: Notify, *, equity: Decimal, now_ms: int) -> None:
    """Halt trading if the limits of loss are reached at this equity, signal or not."""
    states = risk.read_history(database, settings.account)
    halt_at_limits(
        database,
        settings,
        notify,
        equity=equity,
        realised_today=books.realised(database, settings.account, loss_counts_from_ms(states, now_ms)),
        peak_equity=books.peak_equity(database, settings.account),
        now_ms=now_ms,
    )


def halt_at_limits(
    database: Database,
    settings: Settings,
    notify: Notify,
    *,
    equity: Decimal,
    realised_today: Decimal,
    peak_equity: Decimal,
    now_ms: int,
) -> None:
    """Halt for each limit that is reached: a drawdown until a person resumes, a daily loss until 00:00 UTC at most."""
    for reached in losses_reached(equity, realised_today, peak_equity, settings=settings):
        until = floor_ms(now_ms, DAY_MS) + DAY_MS if reached.cause is Cause.DAILY_LOSS else None
        change = StateChange(RiskState.HALTED, reached.cause, reached.found, GUARD, now_ms, until)
        if risk.change_state(database, settings.account, change, unless=_halts_as_long(change)) is None:
            continue
        ends = "until somebody resumes it" if until is None else f"until {iso(until)} or until somebody resumes it"
        notify("trading halted", f"{reached.cause.value}: {reached.found}. Nothing is opened {ends}; stops stay.")


def command(
    database: Database, account: str, state: RiskState, *, reason: str, actor: str, now_ms: int
) -> StateChange | None:
    """A person's change of state. Returns what was in force before; None where that is at least as strict already.

    `ACTIVE` resumes; of a limit that had halted trading it accepts the loss, so that it is counted anew from now on.
    """
    change = StateChange(state, Cause.COMMAND, reason, actor, now_ms)
    return risk.change_state(database, account, change, unless=_says_already(change))


def _halts_as_long(change: StateChange) -> Callable[[StateChange], bool]:
    return lambda held: held.state is RiskState.HALTED and (held.until_ms is None or change.until_ms is not None)


def _says_already(change: StateChange) -> Callable[[StateChange], bool]:
    def says(held: StateChange) -> bool:
        if change.state is RiskState.REDUCING:
            return held.state is not RiskState.ACTIVE
        return held.state is change.state and held.until_ms is None

    return says


def _tell_of_account(database: Database, account: str, notify: Notify, found: Sequence[Refusal], now_ms: int) -> None:
    """One alert when a gate of the account shuts, the next only after it was open again."""
    shut = {refusal.gate: refusal for refusal in found if refusal.of_account and refusal.gate not in _TOLD_WHEN_HALTED}
    with database.read() as connection:
        known = risk.shut_gates(connection, account)
    if known == shut.keys():
        return
    with database.write(one_at_a_time=f"gates of {account}") as connection:
        known = risk.shut_gates(connection, account)  # another process may have told of them
        news = [refusal for gate, refusal in shut.items() if gate not in known]
        for refusal in news:
            risk.add_gate_event(connection, account, refusal.gate, refusal.found, now_ms)
        for gate in known - shut.keys():
            risk.add_gate_event(connection, account, gate, None, now_ms)
    if news:
        notify("entries refused", "; ".join(map(str, news)))


def effect(state: RiskState) -> str:
    """What a state means, as one sentence for people."""
    return {
        RiskState.ACTIVE: "Entries go out again when every gate is open.",
        RiskState.REDUCING: "No new position is opened; open ones keep their stops and targets.",
        RiskState.HALTED: "Nothing is opened and waiting signals are rejected; open positions keep their stops and "
        "targets.",
    }[state]
