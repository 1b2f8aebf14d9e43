"""`trading-assets backup` and `restore`. What they do, `trading_assets.backup` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trading_assets.cli.console import echo, open_console
from trading_assets.cli.opening import announce, who
from trading_assets.core.deadline import ends_without_progress
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import iso

if TYPE_CHECKING:
    from trading_assets.backup.create import Progress as Tell
    from trading_assets.backup.manifest import Manifest


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--candles/--no-candles", default=True, show_default=True, help="They can be fetched again.")
@click.option(
    "--with-history/--without-history",
    "history",
    default=False,
    show_default=True,
    help="The library of imported history: it can be imported again, as long as its files are kept.",
)
def backup(path: Path, candles: bool, history: bool) -> None:
    """Write the ledger, candles and the embedded exchange's account into the file PATH, while everything runs.

    If PATH is a directory, the file gets a name with venue, account and time. Keys and passwords are not in it; their
    names are. The library of imported history is in it only with --with-history.
    """
    from trading_assets.backup.create import back_up, library_of  # noqa: PLC0415 (imports the ledger)
    from trading_assets.backup.manifest import HISTORY, opened  # noqa: PLC0415

    settings = load_settings(lenient=True)
    announce(settings)
    with _progress(settings, "backup") as tell:
        written = back_up(settings, path, candles=candles, history=history, tell=tell)
    with opened(written) as (_, manifest):
        echo(f"{written}: {written.stat().st_size / 1e6:,.1f} MB")
        _describe(manifest)
    files, size = library_of(settings)
    if files and not history:
        echo(
            f"not in it: the library of imported history, {files:,} files of {size / 1e6:,.1f} MB in "
            f"{settings.home / HISTORY}. Say --with-history, or keep the files that were imported"
        )


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Something may be there; it is kept aside, under another name.")
@click.option("--check", is_flag=True, help="Read all of the backup and say what it holds; change nothing.")
def restore(path: Path, replace: bool, check: bool) -> None:
    """Make the home and the ledger what the backup PATH says, and halt trading until you resume it.

    It refuses while a session, Dagster or the embedded exchange uses them.
    """
    from trading_assets.backup import restoring  # noqa: PLC0415 (imports the ledger)

    settings = load_settings(lenient=True)
    if check:
        with _progress(settings, "restore --check") as tell:
            manifest = restoring.check(path, tell)
        echo("whole")
        _describe(manifest)
        return
    announce(settings)
    with _progress(settings, "restore") as tell:
        done = restoring.restore(settings, path, replace=replace, by=who(), tell=tell)
    _describe(done.manifest)
    for place in done.aside:
        echo(f"kept aside: {place}")
    for text in done.differences:
        echo(f"setting: {text}")
    for name in done.manifest.secrets:
        echo(f"secret: {name} was set, and is in no backup: see that it is set again")
    echo(
        f"restored; account {', '.join(done.halted)} is HALTED, {done.rejected} waiting signals are rejected. Compare "
        "it with the exchange (the job reconcile), look at trading-assets portfolio, then: trading-assets resume"
    )


COMMANDS = (backup, restore)


def _describe(manifest: Manifest) -> None:
    named = [name.split("/")[1] for name in manifest.below("accounts")]
    library = manifest.below("history")
    history = f"{len(library)} files of imported history, " if library else ""
    owners = ", ".join(f"{name} is {owner}" for name, owner in manifest.owners.items()) or "bound to nobody"
    echo(
        f"made {iso(manifest.made_ms)} by {manifest.program}; {manifest.venue}, account {manifest.account} ({owners}); "
        f"ledger of {manifest.storage}, revision {manifest.revision}, {len(manifest.below('candles'))} files of "
        f"candles, {history}{'with' if manifest.below('exchange') else 'without'} an account of the embedded exchange"
        f"{', and those of ' + ', '.join(named) if named else ''}"
    )


@contextmanager
def _progress(settings: Settings, name: str) -> Iterator[Tell]:
    """A bar on a terminal; elsewhere a line for each tenth. Without progress the process ends."""
    console = open_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with (
        ends_without_progress(settings.command_deadline_s, name) as moved,
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("ledger", total=None)
        told = ("", 0)

        def tell(what: str, done: int, total: int) -> None:
            nonlocal told
            moved()
            bar.update(task, description=what, completed=done, total=total or None)
            tenth = (what, done * 10 // total if total else 0)
            if not console.is_terminal and tenth != told and total:
                echo(f"{what}: {tenth[1] * 10} %", err=True)
            told = tenth

        yield tell
