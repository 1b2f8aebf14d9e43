"""`trading-assets intents`: order intents that need a person, and what a person says of them."""

from __future__ import annotations

import click
from rich.markup import escape
from rich.table import Table as RichTable

from trading_assets.cli.account_option import account_option, shown_account
from trading_assets.cli.console import echo, open_console
from trading_assets.cli.opening import announce, command_time, open_ledger, who
from trading_assets.core.deadline import ends_within
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import iso, local_ms

_ANSWERS = ("closed", "confirmed", "abandoned")


@click.group()
def intents() -> None:
    """Orders whose end nobody but a person can tell."""


@intents.command("list")
@account_option
def list_intents(account: str) -> None:
    """Intents, grids and DCA plans that need a person: why, since when, and what is known of them so far."""
    from trading_assets.ledger import dca, grids  # noqa: PLC0415
    from trading_assets.trading.saga import questions  # noqa: PLC0415

    base = load_settings()
    with open_ledger(base) as database:
        settings = shown_account(database, base, account)
        found = questions.questions(database, settings.account, tell_unseen_after_ms=settings.unseen_tell_s * 1000)
        plans = [one for one in dca.living(database, settings.account) if one.state == dca.BLOCKED]
        of_grids = grids.needing_a_person(database, settings.account)
    for plan in plans:
        then = f"trading-assets dca resume {plan.symbol}"
        echo(f"the DCA plan in {plan.symbol} needs a person, {plan.reason}. Then: {then}")
    for need in of_grids:
        echo(f"the grid in {need.symbol} needs a person, {need.why}. Then: {need.command}")
    if not found:
        echo("no intent needs a person")
        return
    table = RichTable()
    table.add_column("intent", no_wrap=True, min_width=max(len(one.intent.order_link_id) for one in found))
    for name in ("position", "state", "why", "since", "closings so far", "now"):
        table.add_column(name)
    for one in found:
        intent = one.intent
        filled = intent.filled_qty if intent.filled_qty is not None else intent.qty
        table.add_row(
            escape(intent.order_link_id),
            escape(f"{intent.symbol} {intent.side.value} {filled}"),
            intent.status,
            escape(one.why),
            iso(one.since_ms),
            f"{one.closed_qty} of {filled}",
            "look at the exchange, then resolve it" if one.is_overdue else "asked again by itself",
        )
    open_console().print(table)


@intents.command("resolve")
@click.argument("intent")
@click.argument("state", type=click.Choice(_ANSWERS))
@click.argument("reason", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask.")
@account_option
def resolve_intent(intent: str, state: str, reason: tuple[str, ...], yes: bool, account: str) -> None:
    """Say what became of INTENT (an order link id or a signal id), because you have looked at the exchange.

    \b
    closed     its position is gone, or is not ours; its symbol is free
    confirmed  its position is open and ours; also the way back for one that was closed by mistake
    abandoned  its order never came to be

    REASON is kept in the history, with your name. Nothing is sent to the exchange: the next reconciliation compares,
    and gives a position that is ours its stop again.
    """
    from trading_assets.trading.saga import questions  # noqa: PLC0415

    base = load_settings()
    with open_ledger(base) as database:
        settings = shown_account(database, base, account)
        announce(settings)
        held = questions.find(database, settings.account, intent)
        filled = held.filled_qty if held.filled_qty is not None else held.qty
        what = f"{held.symbol} {held.side.value} {filled} ({held.order_link_id})"
        if not yes:
            click.confirm(f"{what} is {held.status}; say that it is {state}?", abort=True)
        with ends_within(settings.command_deadline_s, "intents resolve"):
            questions.resolve(
                database,
                held,
                state,
                reason=" ".join(reason).strip() or "no reason given",
                actor=who(),
                now_ms=max(command_time(settings, may_be_local=True), held.created_ms),
                wall_ms=local_ms(),
            )
    echo(f"{what} is {state} now, was {held.status}")
