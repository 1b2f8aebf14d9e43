"""The risk guard: reads the account for the gates, halts trading at a limit of loss, and sends one alert a refusal.

It fails closed: what cannot be read or written raises, and then nothing is opened. The meaning of the states is in
`ledger.risk`; what is decided is in `gates`, `limits` and `protections`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from decimal import Decimal

from trading_assets.core.errors import ExchangeError, HaltedByHandError
from trading_assets.core.foreign_text import plain
from trading_assets.core.messages import Kind, Message, Notify, Severity
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.core.side_by_side import begin, done
from trading_assets.core.timeframes import DAY_MS, floor_ms, iso, local_ms
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import balance, dca, grids, orders, risk
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import Cause, RiskState, StateChange
from trading_assets.ledger.strategies import active_names
from trading_assets.trading import halt_file
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.halt_file import FileHalt
from trading_assets.trading.keeper import Reading
from trading_assets.trading.risk.limits import loss_counts_from_ms, losses_reached
from trading_assets.trading.risk.pre_trade import Account, Refusal
from trading_assets.trading.risk.protections import CLOSINGS_BACK_MS

GUARD = "risk guard"
_SIZE = "no size"
_LONGEST_KIND = 32
_ALERTED_BY_HALT = frozenset({"state", Cause.DAILY_LOSS.value, Cause.DRAWDOWN.value})


class AccountReads:
    """Positions and wallet, which are asked for side by side from here on, or were read ahead."""

    def __init__(self, exchange: Exchange, ahead: Reading | None = None) -> None:
        if ahead is not None:
            self.positions, self.wallet = done(ahead.positions), done(ahead.wallet)
        else:
            self.positions, self.wallet = begin(exchange.positions), begin(exchange.wallet)


def account_snapshot(database: Database, begun: AccountReads, account: str, now_ms: int) -> Account:
    """Read the account as it is at this moment, from the exchange and the ledger.

    Raises:
        ExchangeError: it cannot be read; then nothing may be opened.
    """
    states = risk.read_history(database, account)
    positions, occupying = begun.positions.result(), orders.occupying(database, account)
    # A person may have added to what a grid or a plan holds, or enlarged an order of it.
    held = {one.symbol: one.size * one.entry_price for one in positions}
    return Account(
        wallet=begun.wallet.result(),
        positions=positions,
        hidden=account_ledger.hidden_exposure(database, account, positions),
        occupied=frozenset(intent.symbol for intent in occupying),
        resting={one.symbol: one.left_value for one in occupying if one.status == orders.RESTING},
        grids={
            one.symbol: max(one.worst_value, held.get(one.symbol, Decimal(0)))
            for one in grids.living(database, account)
        },
        dca={
            one.symbol: max(one.max_deployed, held.get(one.symbol, Decimal(0))) for one in dca.living(database, account)
        },
        realised_today=execution_ledger.realised(database, account, loss_counts_from_ms(states, now_ms)),
        peak_equity=balance.peak_equity(database, account),
        reconciled_ms=account_ledger.reconciled_until_ms(database, account),
        active_strategies=active_names(database),
        state=risk.in_force(states, now_ms),
        closings=tuple(execution_ledger.own_closings(database, account, now_ms - CLOSINGS_BACK_MS)),
    )


def enforce(
    context: ExecutionContext, symbol: str, account: Account, refusals: Sequence[Refusal], now_ms: int, *, alerted: bool
) -> None:
    """Act on what the gates found for a signal: halt trading at a daily loss, and send alerts.

    A drawdown refuses the signal here, and halts trading when the account is compared: only that reads whether money
    was paid out.

    Args:
        alerted: whether this signal was refused before. Then no alert is sent of it.

    Raises:
        StorageError: the ledger cannot be written, so a limit that is reached could not be kept.
    """
    _halt_at_limits(
        context,
        equity=account.wallet.equity,
        realised_today=account.realised_today,
        peak_equity=account.wallet.equity,
        now_ms=now_ms,
    )
    _alert_of_account(context, refusals, now_ms)
    of_signal = [refusal for refusal in refusals if not refusal.of_account]
    if of_signal and not alerted:
        context.notify(f"entry in {symbol} refused", "; ".join(map(str, of_signal)), Kind.REFUSAL)


def sizes_told(context: ExecutionContext) -> Set[str]:
    """What `alert_of_size` has told of coins no order of which could be sized, and is not over."""
    with context.database.read() as connection:
        return risk.open_episodes(connection, context.settings.account, (f"{_SIZE} ",))


def alert_of_size(
    context: ExecutionContext, symbol: str, reason: str | None, now_ms: int, told_before: Set[str]
) -> None:
    """Tell that no order of a coin can be sized, once until one can be (`reason` None).

    The reason has the price of now, so each new signal of a coin has another text of the same fault.

    Args:
        told_before: `sizes_told` a short while ago.
    """
    account, kind = context.settings.account, f"{_SIZE} {symbol}"[:_LONGEST_KIND]
    is_bad, told = reason is not None, list[Message]()
    if (kind in told_before) is is_bad:
        return
    with context.database.read() as connection:
        if (kind in risk.open_episodes(connection, account, (kind,))) is is_bad:
            return
    with context.database.write(one_at_a_time=f"sizes of {account}") as connection:
        if (kind in risk.open_episodes(connection, account, (kind,))) is is_bad:
            return  # another process was first
        if reason is None:
            risk.end_episode(connection, account, kind, now_ms)
        else:
            risk.begin_episode(connection, account, kind, reason, now_ms)
            body = f"{reason}. Its signals are rejected; see POSITION_SIZE and LEVERAGE, or leave the coin out"
            title = f"entry in {symbol} refused"
            told.append(context.keep(connection, title, body, Kind.REFUSAL, Severity.WARNING, time_ms=now_ms))
    context.tell(*told)


def watch(context: ExecutionContext, *, equity: Decimal, now_ms: int) -> None:
    """Halt trading if a limit of loss is reached at this equity, signal or not."""
    database, account = context.database, context.settings.account
    states = risk.read_history(database, account)
    _halt_at_limits(
        context,
        equity=equity,
        realised_today=execution_ledger.realised(database, account, loss_counts_from_ms(states, now_ms)),
        peak_equity=balance.peak_equity(database, account),
        now_ms=now_ms,
    )


def command(
    database: Database,
    account: str,
    state: RiskState,
    *,
    reason: str,
    actor: str,
    now_ms: int,
    tell: Notify = lambda _message: None,
) -> StateChange | None:
    """Change the state by a person's command.

    `ACTIVE` resumes. After a halt by a limit it accepts the loss: the limit counts from now on.

    Args:
        tell: passes on the message of the change, which is kept with it.

    Return the state in force before; None where that is at least as strict already.
    """
    change = StateChange(state, Cause.COMMAND, plain(reason), plain(actor), now_ms)
    message = _told_of(change, account)
    before = risk.change_state(
        database, account, change, unless=_says_already(change), message=message, wall_ms=local_ms()
    )
    if before is not None:
        tell(message)
    return before


def heed_file(context: ExecutionContext) -> None:
    """Bring a halt that only the file in the home knows into the ledger: machines with other homes obey it, too.

    Raises:
        StorageError: the ledger cannot be written, so nothing may be opened.
    """
    if halt_file.found(context.settings) is not None:
        _heed(context.database, context.settings, _now_ms(context), context.wall_ms(), context.tell)


def resume(
    database: Database,
    settings: Settings,
    *,
    reason: str,
    actor: str,
    now_ms: int,
    tell: Notify = lambda _message: None,
    all_accounts: bool = False,
    others: Sequence[str] = (),
) -> tuple[StateChange | None, FileHalt | None]:
    """Resume by a person's command: the file in the home goes, and the ledger says that it trades.

    A death between the two leaves the halt, as the ledger knows first what only the file knew.

    Args:
        all_accounts: lift a file that was made by hand, too. Other accounts that it halts are halted as long as their
            ledger has read it, and free where it has not.
        others: accounts of the same ledger, which reads of them first what the file says.

    Return what `command` does, and what the file said; None where it did not halt the account.

    Raises:
        HaltedByHandError: a file that was made by hand halts every account, and it is not said that it may go.
        StorageError: the ledger cannot be written, or the file not removed: the halt stays.
    """
    held = halt_file.by_hand(settings)
    if held is not None and not all_accounts:
        raise HaltedByHandError(
            f"the file {halt_file.path_of(settings)} was made by hand, and halts every account of this home "
            f"({held.reason}); account {settings.account} stays HALTED. Lift it for all of them with: trading-assets "
            "resume --all-accounts (in the job resume: all_accounts: true)"
        )
    for name in dict.fromkeys((settings.account, *others)):
        _heed(database, settings.model_copy(update={"account": name}), now_ms, local_ms(), tell)
    with halt_file.taken_away(settings, every=all_accounts) as by_file:
        before = command(
            database, settings.account, RiskState.ACTIVE, reason=reason, actor=actor, now_ms=now_ms, tell=tell
        )
    return before, by_file


def _heed(database: Database, settings: Settings, now_ms: int, wall_ms: int, tell: Notify) -> None:
    held = halt_file.found(settings)
    if held is None:
        return
    reason = f"{held.reason} (by the file {halt_file.NAME})"
    change = StateChange(RiskState.HALTED, Cause.COMMAND, plain(reason), plain(held.actor), now_ms)
    says_already = _says_already(change)

    def unless(now: StateChange) -> bool:
        # Asked in the transaction: a resume may have taken the file away meanwhile.
        return says_already(now) or halt_file.found(settings) is None

    message = _told_of(change, settings.account)
    if risk.change_state(database, settings.account, change, unless=unless, message=message, wall_ms=wall_ms):
        tell(message)


def _now_ms(context: ExecutionContext) -> int:
    try:
        return context.exchange.now_ms()
    except ExchangeError:
        return context.wall_ms()


def _told_of(change: StateChange, account: str) -> Message:
    severity = Severity.INFO if change.state is RiskState.ACTIVE else Severity.WARNING
    title = f"account {account} is {change.state.value}"
    facts = {"state": change.state.value, "reason": change.reason, "actor": change.actor}
    return Message(title, f"{change.reason} ({change.actor})", Kind.RISK, severity, is_kept=True, facts=facts)


def _halts_as_long(change: StateChange) -> Callable[[StateChange], bool]:
    return lambda held: held.state is RiskState.HALTED and (held.until_ms is None or change.until_ms is not None)


def _says_already(change: StateChange) -> Callable[[StateChange], bool]:
    def says(held: StateChange) -> bool:
        if change.state is RiskState.REDUCING:
            return held.state is not RiskState.ACTIVE
        return held.state is change.state and held.until_ms is None

    return says


def _halt_at_limits(
    context: ExecutionContext, *, equity: Decimal, realised_today: Decimal, peak_equity: Decimal, now_ms: int
) -> None:
    """Halt for each limit that is reached: a drawdown until a person resumes, a daily loss until 00:00 UTC at most."""
    for reached in losses_reached(equity, realised_today, peak_equity, settings=context.settings):
        until = floor_ms(now_ms, DAY_MS) + DAY_MS if reached.cause is Cause.DAILY_LOSS else None
        change = StateChange(RiskState.HALTED, reached.cause, reached.found, GUARD, now_ms, until)
        ends = "until somebody resumes it" if until is None else f"until {iso(until)} or until somebody resumes it"
        text = f"{reached.cause.value}: {reached.found}. Nothing is opened {ends}; stops stay."
        facts = {"limit": reached.cause.value, "found": plain(reached.found)}
        message = Message("trading halted", plain(text), Kind.LIMIT, Severity.CRITICAL, is_kept=True, facts=facts)
        changed = risk.change_state(
            context.database,
            context.settings.account,
            change,
            unless=_halts_as_long(change),
            message=message,
            wall_ms=context.wall_ms(),
        )
        if changed is not None:
            context.tell(message)


def _alert_of_account(context: ExecutionContext, refusals: Sequence[Refusal], now_ms: int) -> None:
    """Send one alert when a gate of the account fails, and the next one only after it was open again."""
    account = context.settings.account
    failed = {
        refusal.gate: refusal for refusal in refusals if refusal.of_account and refusal.gate not in _ALERTED_BY_HALT
    }
    with context.database.read() as connection:
        known = risk.failed_gates(connection, account)
    if known == failed.keys():
        return
    with context.database.write(one_at_a_time=f"gates of {account}") as connection:
        known = risk.failed_gates(connection, account)  # another process may have recorded them
        news = [refusal for gate, refusal in failed.items() if gate not in known]
        for refusal in news:
            risk.add_gate_event(connection, account, refusal.gate, refusal.found, now_ms)
        for gate in known - failed.keys():
            risk.add_gate_event(connection, account, gate, None, now_ms)
        told = ["; ".join(map(str, news))] if news else []
        messages = [
            context.keep(connection, "entries refused", text, Kind.REFUSAL, Severity.WARNING, time_ms=now_ms)
            for text in told
        ]
    context.tell(*messages)


def effect(state: RiskState) -> str:
    """Return what a state means, as one sentence for people."""
    return {
        RiskState.ACTIVE: "Entries go out again when every gate is open.",
        RiskState.REDUCING: "No new position is opened; open ones keep their stops and targets.",
        RiskState.HALTED: "Nothing is opened and waiting signals are rejected; open positions keep their stops and "
        "targets.",
    }[state]
