"""Commands about the account: the risk guard's states, closing all, the portfolio, the ledger's schema.

They parse, call one function and print; what they need is imported inside them, for the sake of `--help`.
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from trading_assets.cli.console import echo, open_console
from trading_assets.core.configuration import config_file
from trading_assets.core.deadline import ends_within
from trading_assets.core.errors import StorageError, TradingAssetsError
from trading_assets.core.foreign_text import plain
from trading_assets.core.messages import Notify
from trading_assets.core.settings import Settings, load_settings
from trading_assets.notifications.notifier import notifying

if TYPE_CHECKING:
    from trading_assets.ledger.database import Database
    from trading_assets.ledger.risk import RiskState
    from trading_assets.trading.execute.flatten import FlattenReport

BRAKE_WAIT_S = 5.0
"""`halt` and `reduce` wait so long for each step of the ledger: the file has stopped what has this home already."""

PART_FOR_CLOSING = 0.8
"""Of a command's deadline; the rest is for the books and the report."""

_reason = click.argument("reason", nargs=-1)
_anyway = click.option(
    "--anyway", is_flag=True, help="These books are meant, although a session lives on others and none on these."
)


@click.command()
@_reason
def halt(reason: tuple[str, ...]) -> None:
    """Open nothing and reject waiting signals, until resumed. REASON is kept in the history.

    Open positions keep their stops and targets; a position found without its stop is still closed. Exit code 1 names
    sessions that live on other books and were not reached.
    """
    _set_state("HALTED", reason)


@click.command()
@_reason
def reduce(reason: tuple[str, ...]) -> None:
    """Open no new position, until resumed; waiting signals wait for the rest of their life.

    Exit code 1 names sessions that live on other books and were not reached.
    """
    _set_state("REDUCING", reason)


@click.command()
@_reason
@_anyway
def resume(reason: tuple[str, ...], anyway: bool) -> None:
    """Trade again. A daily loss or drawdown that had halted trading is accepted: it counts anew from now on."""
    _set_state("ACTIVE", reason, anyway=anyway)


@click.command()
@_reason
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--foreign", is_flag=True, help="Close positions that this system did not open, too.")
@_anyway
def flatten(reason: tuple[str, ...], yes: bool, foreign: bool, anyway: bool) -> None:
    """Halt, then close every position of ours at the market; others are left alone and named.

    It may be started again at any time: what was sent is found, and only what is left is closed. Exit code 1 tells
    that something is still open.
    """
    settings = load_settings(lenient=True)
    announce(settings)
    with ends_within(settings.command_deadline_s, "flatten"), open_ledger(settings) as database:
        _require_living_books(settings, database, "flatten", anyway)
    if not yes:
        whose = "EVERY position, also those opened by others," if foreign else "every position of this system"
        click.confirm(
            f"Close {whose} of account {settings.account} on {settings.venue.value} at the market?", abort=True
        )
    _write_halt_file(settings, _text(reason, "flatten"))
    with ends_within(settings.command_deadline_s, "flatten"):
        report = _close_all(settings, reason, foreign=foreign)
    if report is None:
        sys.exit(1)
    echo(f"{report}; trading is HALTED, resume it with: trading-assets resume")
    if report.left or report.unread:
        sys.exit(1)


def _close_all(settings: Settings, reason: tuple[str, ...], *, foreign: bool) -> FlattenReport | None:
    """Halt, and close; where the exchange cannot be opened it halts all the same, says so, and there is no report."""
    from trading_assets.trading.context import ExecutionContext  # noqa: PLC0415
    from trading_assets.trading.execute.flatten import flatten as close_all  # noqa: PLC0415
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    try:
        exchange = open_exchange(settings)
    except TradingAssetsError as error:
        _set_state("HALTED", reason)
        echo(f"nothing was closed, look at the exchange: {error}")
        return None
    try:
        with open_ledger(settings) as database, notifying(settings, lambda: database) as notifier:
            context = ExecutionContext(database=database, exchange=exchange, settings=settings, send=notifier.notify)
            return close_all(
                context,
                reason=_text(reason, "flatten"),
                actor=who(),
                foreign=foreign,
                within_s=PART_FOR_CLOSING * settings.command_deadline_s,
            )
    finally:
        exchange.close()


@click.group()
def confirm() -> None:
    """One-time codes for jobs of the UI that risk or move money. Halting and reducing need none."""


@confirm.command("flatten")
@click.option("--foreign", is_flag=True, help="For positions that this system did not open, too.")
def confirm_flatten(foreign: bool) -> None:
    """A code for the job `flatten`: good once, for ten minutes."""
    _print_code("flatten foreign" if foreign else "flatten", "close_all_positions", foreign=foreign)


@confirm.command("resume")
def confirm_resume() -> None:
    """A code for the job `resume`: good once, for ten minutes."""
    _print_code("resume", "resume_trading", foreign=False)


def _print_code(action: str, op: str, *, foreign: bool) -> None:
    from trading_assets.trading.risk import confirmations  # noqa: PLC0415

    settings = load_settings(lenient=action != "resume")
    code = confirmations.create(settings, action, who())
    job = action.partition(" ")[0]
    also = "; set foreign: true there, too" if foreign else ""
    echo(
        f"{code}\nconfirms {action} of account {settings.account} on {settings.venue.value}, once, for "
        f"{confirmations.VALID_S // 60} minutes: in the launchpad of the job {job}, as the confirmation of "
        f"{op}{also}"
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def portfolio(as_json: bool) -> None:
    """Exposure, liquidation prices, drawdown and results of the account, as the books were read last."""
    from trading_assets.cli import portfolio as portfolio_report  # noqa: PLC0415
    from trading_assets.cli.status import halt_line  # noqa: PLC0415 (as below)
    from trading_assets.trading import portfolio as accounts  # noqa: PLC0415 (pandas costs a second)

    settings = load_settings(lenient=True)
    if halt_line(settings):
        echo(halt_line(settings), err=True)
    with open_ledger(settings) as database:
        warn_of_other_books(settings, database)
        found = accounts.portfolio(database, settings.account)
    if as_json:
        click.echo(json.dumps(portfolio_report.plain(found) if found is not None else None))
    elif found is None:
        echo("The books were never read: start the reconcile job, or wait for its sensor.")
    else:
        portfolio_report.print_portfolio(found, settings.account, open_console())


@click.command()
@click.argument("order")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead, with the rows behind each step.")
def explain(order: str, as_json: bool) -> None:
    """Follow ORDER back to its signal, selection, backtest, parameters and candles, and on to its result.

    ORDER is an order link id, the exchange's id of an order, or a signal id; a unique beginning is enough.
    """
    from trading_assets.trading import explain as explaining  # noqa: PLC0415 (pandas costs a second)

    settings = load_settings()
    with open_ledger(settings) as database:
        found = explaining.explain(database, order, explaining.Links(settings.ui_url), settings.symbols.btc)
    if as_json:
        click.echo(json.dumps(explaining.plain(found)))
    else:
        explaining.print_explanation(found, open_console())


@click.group()
def ledger() -> None:
    """The ledger's schema. Every command brings an older one to today's by itself."""


@ledger.command("revision")
def ledger_revision() -> None:
    """The revision of the schema, and the newest that this version knows."""
    from trading_assets.ledger import migrations  # noqa: PLC0415

    with open_ledger(load_settings(), upgrade=False) as database, database.read() as connection:
        echo(f"revision {migrations.revision_of(connection) or 'none'}, newest {migrations.HEAD}")


@ledger.command("bind")
@click.option("--venue", required=True, help="The venue whose account's rows these are; it must be the settings'.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def ledger_bind(venue: str, yes: bool) -> None:
    """Say once whose the rows of an older version are: those of the account behind the key.

    An empty ledger binds itself when it is first used. What is bound stays so.
    """
    from trading_assets.trading import binding  # noqa: PLC0415
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    settings = load_settings()
    announce(settings)
    if venue != settings.venue.value:
        raise click.UsageError(
            f"--venue is {venue!r}, and the settings say {settings.venue.value!r}: nothing was bound. Give the command "
            "the settings and the key of the account whose rows these are"
        )
    exchange = open_exchange(settings)
    try:
        with open_ledger(settings) as database:
            owner = binding.owner_at(exchange, settings)
            if not yes:
                click.confirm(f"Are the books of account {settings.account} those of {owner}?", abort=True)
            binding.bind_by_hand(database, exchange, settings, by=who())
            echo(binding.describe(database, settings.account))
    finally:
        exchange.close()


@ledger.command("adopt-home")
@click.option("--yes", is_flag=True, help="Do not ask.")
def ledger_adopt_home(yes: bool) -> None:
    """Say that this home is the ledger's from now on, as after a move or a restore. Others are refused then."""
    from trading_assets.trading import home_mark  # noqa: PLC0415

    settings = load_settings()
    announce(settings)
    with open_ledger(settings) as database:
        if not yes:
            click.confirm(f"Is {settings.home} the folder that all machines of this ledger share?", abort=True)
        home_mark.adopt(database, settings)
        echo(home_mark.describe(database, settings))


@ledger.command("downgrade")
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask.")
def ledger_downgrade(revision: str, yes: bool) -> None:
    """Take the schema back to REVISION before an older version of the program is installed.

    What only newer revisions hold is lost. Stop Dagster first: its processes would bring it forward again.
    """
    from trading_assets.ledger import migrations  # noqa: PLC0415

    settings = load_settings()
    if not yes:
        click.confirm(f"Take the ledger back to revision {revision}? What newer ones added is lost", abort=True)
    with open_ledger(settings, upgrade=False) as database, database.write(one_at_a_time=migrations.LOCK) as connection:
        migrations.downgrade(connection, revision)
    echo(f"the ledger is at revision {revision}")


@click.group("trading")
def switch() -> None:
    """Whether the account is traded at all: a switch in its ledger. At first it is on at the simulator, else off."""


@switch.command("on")
@_reason
def switch_on(reason: tuple[str, ...]) -> None:
    """Let sessions and runs open positions for the account; schedules and sensors start them."""
    _switch(reason, on=True)


@switch.command("off")
@_reason
def switch_off(reason: tuple[str, ...]) -> None:
    """Open nothing more, whatever runs. Open positions keep their stops, and books are still read."""
    _switch(reason, on=False)


@switch.command("state")
def switch_state() -> None:
    """Whether the account is traded, and who said so."""
    from trading_assets.trading.context import why_off  # noqa: PLC0415

    settings = load_settings(lenient=True)
    with open_ledger(settings) as database:
        echo(why_off(database, settings) or f"trading of account {settings.account!r} is on")


def _switch(reason: tuple[str, ...], *, on: bool) -> None:
    from trading_assets.core.timeframes import local_ms  # noqa: PLC0415
    from trading_assets.ledger import switches  # noqa: PLC0415

    settings = load_settings(lenient=not on)
    announce(settings)
    with (
        ends_within(settings.command_deadline_s, f"trading {'on' if on else 'off'}"),
        open_ledger(settings) as database,
    ):
        switches.set_switch(
            database,
            settings.account,
            on=on,
            actor=who(),
            reason=_text(reason, "no reason given"),
            wall_ms=local_ms(),
        )
    echo(f"trading of account {settings.account} on {settings.venue.value} is {'on' if on else 'off'}")


COMMANDS = (halt, reduce, resume, flatten, confirm, portfolio, explain, ledger, switch)


def _set_state(name: str, reason: tuple[str, ...], *, anyway: bool = False) -> None:
    from trading_assets.ledger.risk import RiskState  # noqa: PLC0415
    from trading_assets.trading.session.registry import living, unreached  # noqa: PLC0415

    state, text = RiskState(name), _text(reason, "no reason given")
    is_brake = state is not RiskState.ACTIVE
    settings = load_settings(lenient=is_brake)
    announce(settings)
    if state is RiskState.HALTED:
        _write_halt_file(settings, text)
    wait_s = BRAKE_WAIT_S if is_brake else float("inf")
    try:
        with (
            ends_within(settings.command_deadline_s, name),
            open_ledger(settings, wait_s=wait_s) as database,
            notifying(settings, lambda: database) as notifier,
        ):
            if not is_brake:
                _require_living_books(settings, database, "resume", anyway)
                _require_owner(settings, database)
            _change_state(settings, database, state, text, notifier.notify)
            left = unreached(settings, database) if is_brake else []
    except StorageError as error:
        if state is not RiskState.HALTED:
            raise
        left = [one for one in living() if (one.home, one.account) != (str(settings.home), settings.account)]
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


def _write_halt_file(settings: Settings, reason: str) -> None:
    """The first way to halt: it needs neither database nor exchange. Where it cannot be written the ledger is left."""
    from trading_assets.core.timeframes import local_ms  # noqa: PLC0415
    from trading_assets.trading import halt_file  # noqa: PLC0415

    try:
        path = halt_file.write(settings, reason=reason, actor=who(), wall_ms=local_ms())
    except StorageError as error:
        echo(f"{error}; trying the ledger alone", err=True)
    else:
        echo(f"nothing is opened any more by what has this home: {path}", err=True)


def _change_state(settings: Settings, database: Database, state: RiskState, text: str, tell: Notify) -> None:
    """Change the state in the ledger, and on a resume take the file away; it is put back where the ledger fails."""
    from trading_assets.ledger.risk import RiskState, in_force, read_history  # noqa: PLC0415
    from trading_assets.trading import halt_file  # noqa: PLC0415
    from trading_assets.trading.risk import guard as risk_guard  # noqa: PLC0415

    is_brake = state is not RiskState.ACTIVE
    now_ms = command_time(settings, may_be_local=is_brake)
    if is_brake:
        before = risk_guard.command(
            database, settings.account, state, reason=text, actor=who(), now_ms=now_ms, tell=tell
        )
    else:
        before, by_file = risk_guard.resume(database, settings, reason=text, actor=who(), now_ms=now_ms, tell=tell)
        if by_file is not None:
            echo(f"the file {halt_file.path_of(settings)} is gone; it said: {by_file.reason}")
    if before is None:
        held = in_force(read_history(database, settings.account), now_ms)
        by = f" (by {held.actor}: {held.reason})" if held.actor else ""
        echo(f"account {settings.account} stays {held.state}{by}. {risk_guard.effect(held.state)}")
    else:
        echo(f"account {settings.account} is {state}, was {before.state}. {risk_guard.effect(state)}")


def _require_living_books(settings: Settings, database: Database, what: str, anyway: bool) -> None:
    from trading_assets.trading.session.registry import require_books_of_living_session  # noqa: PLC0415

    if not anyway:
        require_books_of_living_session(settings, database, what)


def _require_owner(settings: Settings, database: Database) -> None:
    from trading_assets.trading.binding import require_bound  # noqa: PLC0415
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    exchange = open_exchange(settings)
    try:
        require_bound(database, exchange, settings)
    finally:
        exchange.close()


def announce(settings: Settings) -> None:
    """Print what a command that acts is about to act on: venue, account, home and where the settings come from."""
    file = config_file()
    where = "the environment alone" if file is None else str(file)
    echo(f"{settings.venue.value}, account {settings.account}, home {settings.home}, settings of {where}", err=True)


def warn_of_other_books(settings: Settings, database: Database) -> None:
    """Say when the rows that are shown are not those of the settings' venue."""
    from trading_assets.ledger import books  # noqa: PLC0415
    from trading_assets.trading.binding import describe  # noqa: PLC0415

    owner = books.read(database, settings.account).owner
    if owner is not None and owner.venue != settings.venue.value:
        echo(f"the settings say {settings.venue.value}, but {describe(database, settings.account)}", err=True)


def command_time(settings: Settings, *, may_be_local: bool) -> int:
    """The venue's time; the local clock where it does not answer, for nothing may keep a person from halting."""
    from trading_assets.core.timeframes import local_ms  # noqa: PLC0415
    from trading_assets.venues import open_market_data  # noqa: PLC0415

    try:
        return open_market_data(settings).now_ms()
    except TradingAssetsError:
        if not may_be_local:
            raise
        return local_ms()


def _text(reason: tuple[str, ...], default: str) -> str:
    return plain(" ".join(reason).strip()) or default


def who() -> str:
    """Who gives a command, for the history."""
    try:
        return plain(f"{getpass.getuser()} (command line)")
    except (ImportError, KeyError, OSError):  # a user without a name, as in some containers
        return "somebody (command line)"


@contextmanager
def open_ledger(settings: Settings, *, upgrade: bool = True, wait_s: float = float("inf")) -> Iterator[Database]:
    """The ledger of the settings, closed at the end; its schema as it is unless `upgrade`.

    Args:
        wait_s: wait no longer for it at each step, s.
    """
    from trading_assets.ledger.database import Database, Timeouts  # noqa: PLC0415

    timeouts = Timeouts.of(settings).at_most(wait_s)
    database = Database(settings.resolved_database_url, timeouts=timeouts, upgrade=upgrade)
    try:
        yield database
    finally:
        database.close()
