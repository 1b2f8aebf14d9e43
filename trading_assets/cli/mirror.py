"""`trading-assets mirror`: the tables of DynamoDB that other programs read. Parses, calls one function and prints."""

from __future__ import annotations

import click

from trading_assets.cli.console import echo, line, open_console
from trading_assets.cli.opening import announce, open_ledger
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import iso, local_ms

SHOWN_DIFFERENCES = 20


@click.group()
def mirror() -> None:
    """Scans, backtests and signals in DynamoDB, for programs that read them there.

    TRADING_ASSETS_DYNAMODB_MIRROR=true and `trading-assets serve` keep them up to date. See docs/mirror.md.
    """


@mirror.command()
def create() -> None:
    """Make the tables that are absent, billed on demand, with their indexes."""
    from trading_assets.mirror.dynamodb import DynamoDb  # noqa: PLC0415 (pandas costs a second)

    settings = load_settings(lenient=True)
    announce(settings)
    store = DynamoDb.from_settings(settings)
    for table, done in store.create().items():
        echo(f"{store.names.of[table]}: {done}")


@mirror.command()
@click.option("--offline", is_flag=True, help="Ask the ledger alone.")
def status(offline: bool) -> None:
    """Show whether the mirror is on, what waits to be sent, and the tables."""
    from trading_assets.ledger import mirror as changes  # noqa: PLC0415 (as above)
    from trading_assets.mirror.dynamodb import DynamoDb  # noqa: PLC0415

    settings, console = load_settings(lenient=True), open_console()
    with open_ledger(settings) as database:
        state = changes.state(database)
    if state is None:
        console.print("off: nothing is noted, nothing is sent. On: TRADING_ASSETS_DYNAMODB_MIRROR=true and serve")
    else:
        last = iso(state.last_sent_wall_ms) if state.last_sent_wall_ms else "never"
        since = iso(state.since_wall_ms)
        console.print(f"on since {since}, account {state.account}: {state.sent} items sent, last {last}")
        console.print(line("changes that wait: ", (str(state.waiting), "yellow" if state.waiting else "green")))
        if state.error:
            console.print(line((f"{state.failures} rounds failed since the last good one", "red"), f": {state.error}"))
        if not settings.dynamodb_mirror:
            console.print(
                line(("the setting is off", "yellow"), ": changes are noted, nobody sends; trading-assets mirror off")
            )
    if offline:
        return
    store = DynamoDb.from_settings(settings)
    for table, found in store.counts().items():
        console.print(f"{store.names.of[table]}: {found}")


@mirror.command()
def resync() -> None:
    """Send everything again that the tables are to show, as after a restored ledger. `serve` sends it."""
    from trading_assets.ledger import mirror as changes  # noqa: PLC0415 (as above)
    from trading_assets.mirror.sender import resync as note_all  # noqa: PLC0415

    settings = load_settings(lenient=True)
    announce(settings)
    with open_ledger(settings) as database:
        state = changes.state(database)
        if state is None:
            raise click.UsageError(
                "the mirror is off; expected TRADING_ASSETS_DYNAMODB_MIRROR=true and a running trading-assets serve"
            )
        echo(f"{note_all(database, state.account, local_ms())} changes wait; trading-assets serve sends them")


@mirror.command()
@click.pass_context
def verify(context: click.Context) -> None:
    """Compare every item with the ledger. Ends with 1 where one differs. Reads whole tables, which AWS bills."""
    from trading_assets.ledger import mirror as changes  # noqa: PLC0415 (as above)
    from trading_assets.mirror.dynamodb import DynamoDb  # noqa: PLC0415
    from trading_assets.mirror.verify import compare  # noqa: PLC0415

    settings = load_settings(lenient=True)
    announce(settings)
    with open_ledger(settings) as database:
        state = changes.state(database)
        account = settings.account if state is None else state.account
        store = DynamoDb.from_settings(settings)
        found = compare(database, store, account, local_ms, lambda text: echo(text, err=True))
    for table, number in found.compared.items():
        echo(f"{store.names.of[table]}: {number} items of the ledger")
    if found.waiting:
        echo(f"{found.waiting} changes were not sent yet: items of them may differ")
    for difference in found.differences[:SHOWN_DIFFERENCES]:
        echo(difference)
    rest = len(found.differences) - SHOWN_DIFFERENCES
    if rest > 0:
        echo(f"and {rest} more")
    echo(f"{len(found.differences)} differences" if found.differences else "no difference")
    if found.differences:
        context.exit(1)


@mirror.command()
def off() -> None:
    """Note changes no more, and forget those that wait. The tables stay; their items end by themselves."""
    from trading_assets.ledger import mirror as changes  # noqa: PLC0415 (as above)

    settings = load_settings(lenient=True)
    announce(settings)
    with open_ledger(settings) as database:
        echo("off" if changes.end(database) else "it was off already")
    if settings.dynamodb_mirror:
        echo("TRADING_ASSETS_DYNAMODB_MIRROR is still true: a running serve switches it on again when it starts")
