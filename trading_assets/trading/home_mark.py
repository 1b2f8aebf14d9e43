"""Whether the home in front of us is that of the ledger, and the code that of its daemon.

A worker whose folder is not shared reads no candle that the others have stored, and writes hours without trades. The
mark is a file in the home; the first process writes it there and into the ledger.
"""

from __future__ import annotations

import socket
import uuid
from pathlib import Path

from trading_assets.core.code_version import code_version
from trading_assets.core.errors import StorageError, WrongBooksError
from trading_assets.core.private_files import private_folder, write_private
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import installation, troubles
from trading_assets.ledger.database import Database, shown
from trading_assets.ledger.installation import Installation

NAME = "installation"
_LONGEST = 36


def require_home(database: Database, settings: Settings) -> Installation:
    """Check that the home is the ledger's; an unmarked ledger takes the first that is used with it.

    Raises:
        WrongBooksError: it is another one, or an empty folder in its place.
        StorageError: the home cannot be read or written.
    """
    held, mark = installation.read(database), _mark(settings.home)
    if held is None:
        if mark is None:
            mark = _make_mark(settings.home)
        held = installation.claim(database, mark, str(settings.home))
        mark = _mark(settings.home)
    if held.mark != mark:
        raise WrongBooksError(_refusal(database, settings, held, mark))
    return held


def adopt(database: Database, settings: Settings) -> Installation:
    """A person says that this home is the ledger's from now on, as after a move or a restore.

    Raises:
        StorageError: the home cannot be written.
    """
    mark = _mark(settings.home) or _make_mark(settings.home)
    return installation.claim(database, mark, str(settings.home), replace=True)


def compare_code(database: Database, account: str, held: Installation) -> str:
    """Note where this machine runs other code than the daemon's code server. Return it in words, empty where not."""
    text = ""
    if held.code_version is not None and held.code_version != code_version():
        text = (
            f"this machine runs the code {code_version()}, the daemon's code server {held.code_version}: "
            "install one version everywhere, and start every process again"
        )
    troubles.note(database, account, f"code on {socket.gethostname()}"[:64], text, local_ms())
    return text


def describe(database: Database, settings: Settings) -> str:
    """Say whose the home is, for people who look. It marks nothing.

    Raises:
        WrongBooksError: the home is not the ledger's.
    """
    held, mark = installation.read(database), _mark(settings.home)
    if held is None:
        return f"{settings.home} is not marked yet; the first research does it"
    if held.mark != mark:
        raise WrongBooksError(_refusal(database, settings, held, mark))
    return f"{settings.home} is the ledger's"


def _refusal(database: Database, settings: Settings, held: Installation, mark: str | None) -> str:
    found = "has no mark" if mark is None else f"has the mark {mark[:8]}"
    return (
        f"the ledger {shown(database.url)} belongs to the home with the mark {held.mark[:8]} (first {held.home}), "
        f"and {settings.home} {found}: a folder that should be shared is not. Nothing was done: mount the one that all "
        "machines share, or if this home is meant from now on: trading-assets ledger adopt-home"
    )


def _mark(home: Path) -> str | None:
    try:
        with (home / NAME).open(encoding="ascii", errors="replace") as file:
            return file.read(_LONGEST).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"the mark {home / NAME} cannot be read: {error.strerror}") from error


def _make_mark(home: Path) -> str:
    """Write a new mark, unless another process was first; return what is there then."""
    try:
        private_folder(home)
        own = home / f".{NAME}.{uuid.uuid4().hex[:8]}"
        write_private(own, str(uuid.uuid4()))
        try:
            (home / NAME).hardlink_to(own)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links, as on some disks that are plugged in
            if not (home / NAME).exists():
                own.replace(home / NAME)
        finally:
            own.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"the mark {home / NAME} cannot be written: {error.strerror}") from error
    return _mark(home) or ""
