"""Which sessions live on this machine, whatever home or configuration they were started with: one file each.

A command in front of other books than those of the living session would look like success and reach nobody. The files
are below the user's own state directory, which no setting moves. Sessions of other machines are known by their lease.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import sqlalchemy as sa

from trading_assets.core.errors import WrongBooksError
from trading_assets.core.private_files import private_folder
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import leases
from trading_assets.ledger.database import Database, shown
from trading_assets.ledger.tables import leases as table
from trading_assets.trading.context import trading_lease

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LivingSession:
    """A session that trades now. `database` has no password; `run` is empty where another machine trades."""

    venue: str
    account: str
    home: str
    database: str
    run: str = ""
    pid: int = 0
    born: float = 0.0

    def __str__(self) -> str:
        run = f" (run {self.run[:8]}, process {self.pid})" if self.pid else ""
        return f"{self.venue}, account {self.account}, home {self.home}, ledger {self.database}{run}"

    @property
    def books(self) -> tuple[str, str]:
        """What a command reaches: an account in a ledger."""
        return self.database, self.account

    @property
    def lives(self) -> bool:
        """Whether its process does; another one may have its number by now."""
        with contextlib.suppress(psutil.Error):
            return abs(psutil.Process(self.pid).create_time() - self.born) < 1.0
        return False


def folder() -> Path:
    """Directory of the files: of this user, and the same for every configuration."""
    state = os.environ.get("XDG_STATE_HOME", "").strip()
    return Path(state or Path.home() / ".local" / "state") / "trading-assets" / "sessions"


@contextlib.contextmanager
def registered(settings: Settings, database: Database, run: str) -> Iterator[None]:
    """Be known as a living session. A directory that cannot be written is logged, and keeps nobody from trading."""
    process = psutil.Process()
    session = LivingSession(
        settings.venue.value,
        settings.account,
        str(settings.home),
        shown(database.url),
        run,
        process.pid,
        process.create_time(),
    )
    path: Path | None = None
    try:
        private_folder(folder())
        number, name = tempfile.mkstemp(dir=folder(), suffix=".new")
        with os.fdopen(number, "w") as file:
            json.dump(asdict(session), file)
        path = Path(name).rename(name.removesuffix(".new") + ".json")
    except OSError as error:
        _log.warning("commands elsewhere cannot see this session: %s", error)
    try:
        yield
    finally:
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


def living() -> list[LivingSession]:
    """Return the sessions of this user that live on this machine. What the dead have left is removed."""
    found = []
    for path in sorted(folder().glob("*.json")):
        try:
            session = LivingSession(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue
        if session.lives:
            found.append(session)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return found


def unreached(settings: Settings, database: Database, accounts: Collection[str] = ()) -> list[LivingSession]:
    """Return the living sessions that a command in front of these books does not reach.

    Those of this machine, and those that trade another account of this ledger from wherever.

    Args:
        accounts: what the command reaches, or knows of, besides the account of the settings.
    """
    where, reached = shown(database.url), {settings.account, *accounts}
    found = [session for session in living() if session.database != where or session.account not in reached]
    known = {session.account for session in found if session.database == where}
    return found + [
        LivingSession(settings.venue.value, account, "of another machine", where)
        for account in _accounts_traded(database)
        if account not in known | reached
    ]


def require_books_of_living_session(
    settings: Settings, database: Database, what: str, accounts: Collection[str] = ()
) -> None:
    """Refuse to go on in front of books on which nobody trades while somebody trades on others.

    Args:
        what: the command, for the message.
        accounts: of the same installation: their sessions are not elsewhere.

    Raises:
        WrongBooksError: it is so; each living session is named.
    """
    others = unreached(settings, database, accounts)
    if not others or _trades_here(settings, database):
        return
    named = "; ".join(map(str, others))
    raise WrongBooksError(
        f"{what} would look at account {settings.account} on {settings.venue.value} in "
        f"{shown(database.url)}, where nobody trades, while a session lives elsewhere: "
        f"{named}. Nothing was done. Give the command the configuration of that session (trading-assets --config FILE "
        "or --home DIRECTORY ...), or --anyway if these books are meant"
    )


def _trades_here(settings: Settings, database: Database) -> bool:
    here = (shown(database.url), settings.account)
    if any(session.books == here for session in living()):
        return True
    return leases.holder_of(database, trading_lease(settings.account), wall_ms=local_ms()) is not None


def _accounts_traded(database: Database) -> list[str]:
    """The accounts in this ledger that somebody trades now, here or on another machine."""
    prefix = trading_lease("")
    held = sa.select(table.c.name).where(
        table.c.name.startswith(prefix, autoescape=True), table.c.expires_wall_ms > local_ms()
    )
    with database.read() as connection:
        return sorted(str(name).removeprefix(prefix) for name in connection.execute(held).scalars())
