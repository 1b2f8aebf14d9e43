"""`trading-assets alarms`: what is wrong now, and since when. Parses, calls one function and prints."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from trading_assets.cli.console import line, open_console
from trading_assets.cli.opening import open_ledger
from trading_assets.core.messages import Severity
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import iso

_STYLE = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.INFO: ""}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of rows instead.")
@click.option("--all", "every", is_flag=True, help="Show those of the last week, too, that were resolved.")
@click.pass_context
def alarms(context: click.Context, as_json: bool, every: bool) -> None:
    """Look once, and print what fires or is about to. Ends with 1 where an alarm fires.

    `trading-assets serve` looks all the time, and tells on the channels.
    """
    from trading_assets.ledger.alarms import AlarmState, current  # noqa: PLC0415 (pandas costs a second)
    from trading_assets.observability import readings  # noqa: PLC0415
    from trading_assets.observability.alarms import Watch  # noqa: PLC0415

    settings = load_settings(lenient=True)
    with open_ledger(settings) as database:
        reading = readings.read(database, settings)
        Watch().look(database, reading, knows_requests=False)
        found = [
            one
            for account in reading.accounts
            for one in current(database, account.account)
            if every or one.state is not AlarmState.RESOLVED
        ]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        console = open_console()
        for one in found:
            since = f" since {iso(one.since_wall_ms)}"
            text = line((one.state.value, _STYLE[one.severity]), f"{since}, account {one.account}: {one}")
            console.print(text, highlight=False, soft_wrap=True)
        if not found:
            console.print("no alarm")
    if any(one.state is AlarmState.FIRING for one in found):
        context.exit(1)
