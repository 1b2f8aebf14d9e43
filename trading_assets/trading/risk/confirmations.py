"""One-time codes for commands that risk or move money. They are made on the command line, and used up by the job.

Whoever can start a job (a page in a browser, a viewer of the UI) is not thereby who may read the home. The home has the
codes' hashes, each in a file of its own; taking the file away uses the code, so two jobs never share one.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trading_assets.core.errors import ConfirmationError, StorageError
from trading_assets.core.private_files import private_folder, write_private
from trading_assets.core.settings import Settings

FOLDER = "confirmations"
VALID_S = 600
ACTIONS = ("flatten", "flatten foreign", "resume", "close", "settings")
"""What needs a code. Halting and reducing never do. Settings do where money is real."""

_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_LENGTH = 12
"""60 bits: nobody guesses one in ten minutes."""


@dataclass(frozen=True)
class Confirmation:
    """Who has confirmed what."""

    action: str
    account: str
    venue: str
    actor: str
    made_s: float
    details: str = ""


def create(
    settings: Settings, action: str, actor: str, *, details: str = "", now_s: Callable[[], float] = time.time
) -> str:
    """Make a code for one command, `action` of the settings' account and venue.

    Args:
        details: what was shown to him who confirms; the user of the code compares it with what is then.

    Raises:
        StorageError: the home cannot be written.
    """
    if action not in ACTIONS:
        raise ConfirmationError(f"{action!r} needs no confirmation; expected one of {', '.join(ACTIONS)}")
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    text = json.dumps(
        {
            "action": action,
            "account": settings.account,
            "venue": settings.venue.value,
            "actor": actor,
            "made": now_s(),
            "details": details,
        }
    )
    try:
        private_folder(settings.home / FOLDER)
        _forget_old(settings.home / FOLDER, now_s())
        write_private(_file(settings, code), text)
    except OSError as error:
        raise StorageError(f"the code cannot be kept in {settings.home / FOLDER}: {error.strerror}") from error
    return "-".join(code[start : start + 4] for start in range(0, _LENGTH, 4))


def use(settings: Settings, action: str, code: str, *, now_s: Callable[[], float] = time.time) -> Confirmation:
    """Use a code up. A code for something else is used up, too.

    Raises:
        ConfirmationError: there is none, or it is unknown, used, too old, or for something else.
        StorageError: the home cannot be read or written.
    """
    command = f"trading-assets confirm {action.replace(' foreign', ' --foreign')}"
    if not code.strip():
        raise ConfirmationError(
            f"{action} needs a one-time code: run `{command}` on this installation's command line, and give the code "
            "as `confirmation`. Nothing was done"
        )
    path = _file(settings, code.strip().upper().replace("-", ""))
    try:
        text = path.read_text(encoding="utf-8")
        path.unlink()  # of two jobs with one code one fails here
    except FileNotFoundError:
        raise ConfirmationError(
            f"the confirmation is not a code of this home that is still unused: make one with `{command}`. Nothing "
            "was done"
        ) from None
    except OSError as error:
        raise StorageError(f"the code cannot be used up in {path.parent}: {error.strerror}") from error
    found = _read(text)
    wanted = (action, settings.account, settings.venue.value)
    if (found.action, found.account, found.venue) != wanted:
        raise ConfirmationError(
            f"the code confirms {found.action} of account {found.account} on {found.venue}, not {action} of account "
            f"{settings.account} on {settings.venue.value}: run `{command}`. Nothing was done"
        )
    if not 0 <= now_s() - found.made_s <= VALID_S:
        raise ConfirmationError(f"the code is older than {VALID_S // 60} minutes: run `{command}`. Nothing was done")
    return found


def _read(text: str) -> Confirmation:
    try:
        found = json.loads(text)
        return Confirmation(
            found["action"],
            found["account"],
            found["venue"],
            found["actor"],
            float(found["made"]),
            found.get("details", ""),
        )
    except (ValueError, KeyError, TypeError):
        raise ConfirmationError("the code's file is damaged: make another code. Nothing was done") from None


def _file(settings: Settings, code: str) -> Path:
    return settings.home / FOLDER / hashlib.sha256(code.encode()).hexdigest()


def _forget_old(folder: Path, now_s: float) -> None:
    for path in folder.iterdir():
        if now_s - path.stat().st_mtime > 2 * VALID_S:
            path.unlink(missing_ok=True)
