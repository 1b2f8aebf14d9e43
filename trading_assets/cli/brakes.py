"""`halt`, `reduce` and `resume`: the risk guard's states, by file and ledger. What closes positions is in `closing`.

They parse, call one function and print; what they need is imported inside them, for the sake of `--help`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from trading_assets.cli.account_option import every_account_option, one_account_option, the_account, with_keys
from trading_assets.cli.console import echo
from trading_assets.cli.opening import (
    announce,
    anyway_option,
    command_time,
    open_ledger,
    reason_argument,
    reason_text,
    require_living_books,
    who,
)
from trading_assets.core.deadline import ends_within
from trading_assets.core.errors import StorageError, TradingAssetsError, UnknownAccountError
from trading_assets.core.messages import Notify
from trading_assets.core.settings import Settings, load_settings
from trading_assets.notifications.notifier import notifying

if TYPE_CHECKING:
    from trading_assets.ledger.database import Database
    from trading_assets.ledger.risk import RiskState

BRAKE_WAIT_S = 5.0
"""`halt` and `reduce` wait so long for each step of the ledger: the file has stopped what has this home already."""


@click.command()
@reason_argument
@every_account_option
def halt(reason: tuple[str, ...], account: str) -> None:
    """Open nothing and reject waiting signals, until resumed. REASON is kept in the history.

    Open positions keep their stops and targets; a position found without its stop is still closed. Exit code 1 names
    sessions that live on other books and were not reached.
    """
    brake("HALTED", reason, account)


@click.command()
@reason_argument
@every_account_option
def reduce(reason: tuple[str, ...], account: str) -> None:
    """Open no new position, until resumed; waiting signals wait for the rest of their life.

    Exit code 1 names sessions that live on other books and were not reached.
    """
    brake("REDUCING", reason, account)


@click.command()
@reason_argument
@click.option(
    "--all-accounts",
    is_flag=True,
    help="Take a file HALTED away that was made by hand, too: it halts every account of this home.",
)
@one_account_option
@anyway_option
def resume(reason: tuple[str, ...], all_accounts: bool, account: str, anyway: bool) -> None:
    """Trade again. A daily loss or drawdown that had halted trading is accepted: it counts anew from now on."""
    base, text = load_settings(), reason_text(reason, "no reason given")
    with ends_within(base.command_deadline_s, "ACTIVE"), open_ledger(base) as database:
        settings = the_account(database, base, account, "resume")
        announce(settings)
        with notifying(settings, lambda: database) as notifier:
            require_living_books(settings, database, base, "resume", anyway)
            _require_owner(with_keys(database, base, settings.account), database)
            _resume(settings, database, base, text, notifier.notify, all_accounts=all_accounts)


def brake(name: str, reason: tuple[str, ...], account: str) -> None:
    """Halt or reduce every account, or the one that is named, and tell whom that did not reach."""
    from trading_assets.accounts import effective  # noqa: PLC0415
    from trading_assets.ledger.risk import RiskState  # noqa: PLC0415
    from trading_assets.trading import halt_file  # noqa: PLC0415
    from trading_assets.trading.session.registry import living, unreached  # noqa: PLC0415

    state, text = RiskState(name), reason_text(reason, "no reason given")
    base, halts = load_settings(lenient=True), state is RiskState.HALTED
    written = [account] if account else effective.remembered_names(base)
    announce(base.model_copy(update={"account": ", ".join(written)}))
    for number, one in enumerate(written if halts else ()):
        write_halt_file(base.model_copy(update={"account": one}), text, says_so=number == 0)
    try:
        with (
            ends_within(base.command_deadline_s, name),
            open_ledger(base, wait_s=BRAKE_WAIT_S) as database,
            notifying(base, lambda: database) as notifier,
        ):
            names = effective.several_names(database, base, account)
            now_ms = command_time(base, may_be_local=True)
            for one in names:
                settings = base.model_copy(update={"account": one})
                if halts and one not in written:
                    write_halt_file(settings, text, says_so=False)
                _stop(settings, database, state, text, notifier.notify, now_ms)
            for one in names:  # when all of them are stopped
                _withdraw(base, one, database, notifier.notify)
            left = unreached(base, database, names)
            left = [one for one in left if not account or one.account == account]
    except UnknownAccountError:
        if halts:
            halt_file.take_away(base.model_copy(update={"account": account}))  # there is no such account
        raise
    except StorageError as error:
        if not halts:
            raise
        left = [one for one in living() if (one.home, one.account) not in {(str(base.home), each) for each in written}]
        left = [one for one in left if not account or one.account == account]
        echo(
            f"the ledger was NOT reached: {error}. The file halts what has this home; it comes into the ledger, and to "
            "machines with another home, as soon as a session or a reconciliation here can write it",
            err=True,
        )
        for session in left:
            echo(f"NOT reached, it goes on trading: {session}", err=True)
        sys.exit(1)
    for session in left:
        echo(f"NOT reached, it goes on trading: {session}", err=True)
    if left:
        echo("reach it with its configuration: trading-assets --config FILE, or --home DIRECTORY ...", err=True)
        sys.exit(1)


def _withdraw(base: Settings, account: str, database: Database, tell: Notify) -> None:
    """Cancel the entries that wait at the exchange, and say so. The state stands whatever becomes of it."""
    from trading_assets.trading.context import ExecutionContext  # noqa: PLC0415
    from trading_assets.trading.execute import withdraw as withdrawing  # noqa: PLC0415
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    waiting = withdrawing.waiting(database, account)
    if not waiting:
        return
    try:
        settings = with_keys(database, base, account)
        exchange = open_exchange(settings)
    except TradingAssetsError as error:
        echo(f"entries wait still, and were not cancelled: {', '.join(waiting)} ({error})", err=True)
        return
    try:
        echo(str(withdrawing.withdraw(ExecutionContext(database, exchange, settings, send=tell))))
    finally:
        exchange.close()


def write_halt_file(settings: Settings, reason: str, *, says_so: bool = True) -> None:
    """The first way to halt: it needs neither database nor exchange. Where it cannot be written the ledger is left."""
    from trading_assets.core.timeframes import local_ms  # noqa: PLC0415
    from trading_assets.trading import halt_file  # noqa: PLC0415

    try:
        path = halt_file.write(settings, reason=reason, actor=who(), wall_ms=local_ms())
    except StorageError as error:
        echo(f"{error}; trying the ledger alone", err=True)
    else:
        if says_so:
            echo(f"nothing is opened any more by what has this home: {path}", err=True)


def _stop(settings: Settings, database: Database, state: RiskState, text: str, tell: Notify, now_ms: int) -> None:
    """Halt or reduce an account in the ledger, and say what holds."""
    from trading_assets.ledger.risk import in_force, read_history  # noqa: PLC0415
    from trading_assets.trading.risk import guard as risk_guard  # noqa: PLC0415

    account = settings.account
    before = risk_guard.command(database, account, state, reason=text, actor=who(), now_ms=now_ms, tell=tell)
    if before is None:
        held = in_force(read_history(database, account), now_ms)
        by = f" (by {held.actor}: {held.reason})" if held.actor else ""
        echo(f"account {account} stays {held.state}{by}. {risk_guard.effect(held.state)}")
    else:
        echo(f"account {account} is {state}, was {before.state}. {risk_guard.effect(state)}")


def _resume(
    settings: Settings, database: Database, base: Settings, text: str, tell: Notify, *, all_accounts: bool
) -> None:
    """Trade again in the ledger, and take the file away; it is put back where the ledger fails."""
    from trading_assets.accounts import effective  # noqa: PLC0415
    from trading_assets.ledger.risk import RiskState, in_force, read_history  # noqa: PLC0415
    from trading_assets.trading import halt_file  # noqa: PLC0415
    from trading_assets.trading.risk import guard as risk_guard  # noqa: PLC0415

    now_ms = command_time(settings, may_be_local=False)
    before, by_file = risk_guard.resume(
        database,
        settings,
        reason=text,
        actor=who(),
        now_ms=now_ms,
        tell=tell,
        all_accounts=all_accounts,
        others=effective.names(database, base),
    )
    if by_file is not None:
        whom = "any account of this home by hand" if all_accounts else f"account {settings.account}"
        echo(f"the file {halt_file.path_of(settings)} no longer halts {whom}; it said: {by_file.reason}")
    if before is None:
        held = in_force(read_history(database, settings.account), now_ms)
        by = f" (by {held.actor}: {held.reason})" if held.actor else ""
        echo(f"account {settings.account} stays {held.state}{by}. {risk_guard.effect(held.state)}")
    else:
        active = RiskState.ACTIVE
        echo(f"account {settings.account} is {active}, was {before.state}. {risk_guard.effect(active)}")


def _require_owner(settings: Settings, database: Database) -> None:
    from trading_assets.trading.binding import require_bound  # noqa: PLC0415
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    exchange = open_exchange(settings)
    try:
        require_bound(database, exchange, settings)
    finally:
        exchange.close()
