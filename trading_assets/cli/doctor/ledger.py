"""Checks of the ledger: schema, whose it is, what halts trading, sessions, research."""

from __future__ import annotations

from contextlib import closing

from trading_assets.cli.doctor.findings import Advice, opened
from trading_assets.core.code_version import code_version
from trading_assets.core.errors import (
    ConfigurationError,
    DataError,
    StorageError,
)
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import books, dca, grids, installation, leases, migrations, sealing
from trading_assets.ledger.database import shown
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.service.conditions import blocked_lines, halt_line, no_coin_line
from trading_assets.trading import home_mark
from trading_assets.trading.binding import describe, require_bound, require_market
from trading_assets.trading.context import trading_lease, why_off
from trading_assets.trading.session.registry import unreached
from trading_assets.venues import open_exchange


def check_database(settings: Settings) -> str:
    with closing(opened(settings)) as database, database.write() as connection:
        revision = migrations.revision_of(connection)
    return f"{shown(database.url)}, revision {revision}"


def check_installation(settings: Settings) -> str:
    with closing(opened(settings)) as database:
        said = home_mark.describe(database, settings)
        held = installation.read(database)
    if held is not None and held.code_version not in (None, code_version()):
        raise ConfigurationError(
            f"{said}; but this command runs the code {code_version()}, and the daemon's code server "
            f"{held.code_version}: install one version everywhere, and start every process again"
        )
    return f"{said}, code {code_version()}"


def check_books(settings: Settings) -> str:
    with closing(open_exchange(settings)) as exchange, closing(opened(settings)) as database:
        held = books.read(database, settings.account)
        if held.market is not None:  # looking binds nothing
            require_market(database, exchange)
        if held.owner is not None:
            require_bound(database, exchange, settings)
        return describe(database, settings.account)


LATE_DAYS = 3
"""So many days that wait to be sealed are more than the job leaves."""


def check_results(settings: Settings) -> str:
    """How much is sealed, and whether the job keeps up."""
    with closing(opened(settings)) as database:
        found = sealing.state(database, sealing.before_ms(database, settings.seal_results_after_days))
        said = sealing.state_told(found)
        names = sealing.files_in_use(database)
        if names and database.results is not None and database.results.read(names[-1][1]) is None:
            raise StorageError(
                f"{said}; but {database.results.url(names[-1][1])} is not there: put back the folder of results that "
                "belongs to this ledger, or backfill these days again"
            )
    late = found.due_days > LATE_DAYS
    return Advice(f"{said}: trading-assets results seal, or the schedule seal_hourly") if late else said


def check_switch(settings: Settings) -> str:
    with closing(opened(settings)) as database:
        off = why_off(database, settings)
    return Advice(off) if off else "on"


def check_risk(settings: Settings) -> str:
    with closing(opened(settings)) as database:
        held = in_force(read_history(database, settings.account), local_ms())
    if held.state is RiskState.ACTIVE:
        return "ACTIVE"
    return Advice(f"{held.state}, {held.cause.value}: {held.reason}; when that is over: trading-assets resume")


def check_halt_file(settings: Settings) -> str:
    held = halt_line(settings)
    if held:
        return Advice(f"{held}; nothing is opened before: trading-assets resume")
    return "there is none"


def check_sessions(settings: Settings) -> str:
    with closing(opened(settings)) as database:
        others = unreached(settings, database)
        here = leases.holder_of(database, trading_lease(settings.account), wall_ms=local_ms())
    text = f"{here.holder} trades" if here is not None else "none trades on these books"
    if others:
        return Advice(f"{text}; others live, and commands here do not reach them: {'; '.join(map(str, others))}")
    return text


def check_grids(settings: Settings) -> str:
    with closing(opened(settings)) as database:
        found = grids.needing_a_person(database, settings.account)
        living = grids.living(database, settings.account)
    if found:
        return Advice("; ".join(f"{one.symbol}: {one.why}; then {one.command}" for one in found))
    if not living:
        return "none; trading-assets grid start begins one, and nothing starts one by itself"
    return ", ".join(f"{one.symbol} is {one.state}" for one in living)


def check_dca(settings: Settings) -> str:
    with closing(opened(settings)) as database:
        living = dca.living(database, settings.account)
    found = [one for one in living if one.state == dca.BLOCKED]
    if found:
        return Advice(
            "; ".join(
                f"{one.symbol}: blocked: {one.reason}; then trading-assets dca resume {one.symbol}, or dca stop"
                for one in found
            )
        )
    if not living:
        return "none; trading-assets dca start begins one, and nothing starts one by itself"
    return ", ".join(f"{one.symbol} is {one.state}" for one in living)


def check_research(settings: Settings) -> str:
    with closing(opened(settings)) as database:
        blocked, empty = blocked_lines(database), no_coin_line(database)
    if blocked:
        raise DataError("; ".join(blocked))
    if empty:
        return Advice(f"{empty}. If it stays so, look at the report of the backtests and its gates")
    return "no hour of the last day is blocked"
