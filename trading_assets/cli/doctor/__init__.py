"""The checklist before trading: settings, machine, ledger, exchange, Dagster. Each finding says what to do.

A module for each group of checks. Nothing is repaired here but the rights of files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

from trading_assets.cli.doctor import accounts, configuration, dagster_instance, exchange, history, ledger, machine
from trading_assets.cli.doctor.findings import Advice, Finding, Level, opened
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.settings import Settings, Venue
from trading_assets.venues import open_exchange


def examine(settings: Settings, *, send: bool = False) -> list[Finding]:
    """Look at everything a run needs, in the order in which it would fail, in groups.

    Args:
        send: send a test message to each channel of notifications.
    """
    findings = []
    for group, checks in (OF_HISTORY if settings.venue is Venue.HISTORY else CHECKS).items():
        for what, check in checks.items():
            look = configuration.send_test if send and check is configuration.check_notifications else check
            try:
                found = look(settings)
            except TradingAssetsError as error:
                findings.append(Finding(group, what, Level.FAULT, str(error)))
            else:
                findings.append(Finding(group, what, Level.ADVICE if isinstance(found, Advice) else Level.OK, found))
    return findings + _named_accounts(settings)


def _named_accounts(settings: Settings) -> list[Finding]:
    """One finding for each named account; none where the ledger cannot be asked, which `database` has told."""
    group, findings = "Named accounts", []
    try:
        with closing(opened(settings)) as database:
            for name in accounts.names_of(database, settings):
                try:
                    found, better = accounts.examine_named(database, settings, name, open_exchange)
                except TradingAssetsError as error:
                    is_off = accounts.is_off(database, settings, name)
                    findings.append(Finding(group, name, Level.ADVICE if is_off else Level.FAULT, str(error)))
                else:
                    level = Level.ADVICE if better else Level.OK
                    findings.append(Finding(group, name, level, "; ".join((found, *better))))
    except TradingAssetsError:
        pass
    return findings


CHECKS: Mapping[str, Mapping[str, Callable[[Settings], str]]] = {
    "Configuration": {
        "file": configuration.check_file,
        "settings": configuration.check_names,
        "venue": configuration.check_venue,
        "notifications": configuration.check_notifications,
        "commands by chat": configuration.check_bot,
    },
    "This machine": {
        "home directory": machine.check_home,
        "rights of files": machine.check_rights,
        "store": machine.check_store,
        "request counters": machine.check_limits,
        "memory": machine.check_memory,
    },
    "Ledger": {
        "database": ledger.check_database,
        "installation": ledger.check_installation,
        "books": ledger.check_books,
        "trading": ledger.check_switch,
        "risk guard": ledger.check_risk,
        "file HALTED": ledger.check_halt_file,
        "sessions": ledger.check_sessions,
        "grids": ledger.check_grids,
        "DCA plans": ledger.check_dca,
        "research": ledger.check_research,
        "results": ledger.check_results,
    },
    "Exchange": {
        "exchange": exchange.check_exchange,
        "clock": exchange.check_clock,
        "API key": exchange.check_api_key,
        "venue's differences": exchange.check_differences,
        "account": exchange.check_account,
        "settle coins": exchange.check_settle_coins,
    },
    "Dagster": {
        "instance": dagster_instance.check_dagster,
        "code locations": dagster_instance.check_locations,
        "message broker": dagster_instance.check_broker,
        "automation": dagster_instance.check_switched,
        "schedules and sensors": dagster_instance.check_automation,
        "web server": dagster_instance.check_web_server,
        "token of the UI": dagster_instance.check_token,
    },
}
"""What is looked at, by group and name. A check returns what it found, or `Advice`, or raises an error of the tree."""

OF_HISTORY: Mapping[str, Mapping[str, Callable[[Settings], str]]] = {
    group: {
        **({} if group == "Exchange" else {what: check for what, check in checks.items() if what != "books"}),
        **({"library": history.check_library} if group == "Exchange" else {}),
        **({"research's market": history.check_market} if group == "Ledger" else {}),
    }
    for group, checks in CHECKS.items()
}
"""Of the venue `history`, which has neither exchange nor account."""
