"""`trading-assets restore`: a backup becomes the home again. What was there is kept aside, and trading is halted."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from trading_assets.accounts import effective
from trading_assets.backup.create import Progress, patient, plain_settings
from trading_assets.backup.ledger_copy import FILE, POSTGRESQL, SQLITE, check_sqlite, load_tables, pour
from trading_assets.backup.manifest import (
    ACCOUNTS,
    CANDLES,
    EXCHANGE,
    HISTORY,
    LEDGER,
    NAME,
    RESULTS,
    Checked,
    Manifest,
    opened,
    reading,
)
from trading_assets.backup.users import users_of
from trading_assets.core.errors import DamagedFileError, StorageError
from trading_assets.core.private_files import path_part, private_file, private_folder
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import iso, local_ms
from trading_assets.ledger import books, installation, migrations, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState
from trading_assets.simulator import files
from trading_assets.trading import halt_file, home_mark
from trading_assets.trading.risk import guard as risk_guard

_ROOM_FOR_OTHERS = 64 * 1024**2


@dataclass(frozen=True)
class Restored:
    """What a restore has done.

    Attributes:
        aside: where what was there is now; empty where there was nothing.
        halted: accounts that trade nothing until a person resumes.
        rejected: signals that had waited, and are not sent: they may have been sent after the backup.
        differences: settings that are not those of the backup, a sentence each.
    """

    manifest: Manifest
    aside: tuple[str, ...]
    halted: tuple[str, ...]
    rejected: int
    differences: tuple[str, ...]


def check(path: Path, tell: Progress = lambda *_: None) -> Manifest:
    """Read all of a backup.

    Raises:
        StorageError: it cannot be read.
        DamagedFileError: a part is not what was written.
    """
    with opened(path) as (archive, manifest):
        _require_whole(archive, manifest)
        done = 0
        for name, part in manifest.parts.items():
            with reading(archive, manifest, name):
                pass
            done += part.bytes
            tell("checked", done, manifest.bytes)
    return manifest


def restore(
    settings: Settings, path: Path, *, replace: bool = False, by: str, tell: Progress = lambda *_: None
) -> Restored:
    """Make the home and the ledger of the settings what the backup says, and halt trading.

    Everything is unpacked and checked beside the home first. Then names change, and PostgreSQL's tables in one
    transaction: before that nothing has changed.

    Args:
        replace: something may be there; it is kept aside.
        by: who does it, for the history of states.

    Raises:
        StorageError: something is there, it is in use, there is no room, or it is a backup for another database.
        DamagedFileError: the backup is not whole.
    """
    with opened(path) as (archive, manifest):
        _require_whole(archive, manifest)
        target = _Target(settings, manifest, archive, tell)
        try:
            target.require_free(replace=replace)
            target.unpack()
            aside = _halted_from_now(settings, manifest, by, target.put_in_place)
        except OSError as error:
            raise StorageError(f"{settings.home} cannot be written: {error.strerror or error}") from error
        finally:
            target.close()
    halted, rejected = _halt(settings, manifest, by)
    now = plain_settings(settings)
    names = sorted(manifest.settings.keys() | now.keys())
    differences = [
        f"{name} was {manifest.settings.get(name, 'at its default')}, it is {now.get(name, 'at its default')}"
        for name in names
        if manifest.settings.get(name) != now.get(name)
    ]
    return Restored(manifest, tuple(aside), halted, rejected, tuple(differences))


class _Target:
    """The home and the ledger that a backup goes to."""

    def __init__(self, settings: Settings, manifest: Manifest, archive: zipfile.ZipFile, tell: Progress) -> None:
        self._settings, self._manifest, self._archive, self._tell = settings, manifest, archive, tell
        self._database = Database(settings.resolved_database_url, timeouts=patient(settings), upgrade=False)
        self._stamp = iso(local_ms()).replace("-", "").replace(":", "")
        self._staging = settings.home / f".restoring-{os.getpid()}"
        held = {PurePosixPath(name).parts[0] for name in manifest.parts}
        self._moves: dict[Path, Path] = {}
        """Where unpacked things go, by where they are unpacked."""
        if manifest.storage == SQLITE and self._database.dialect == SQLITE:
            self._ledger = Path(self._database.url.database or "")
            self._moves[self._ledger.with_name(f".{self._ledger.name}.restoring")] = self._ledger
        named = {str(PurePosixPath(*PurePosixPath(name).parts[:3])) for name in manifest.below(ACCOUNTS)}
        for folder in (*(one for one in (EXCHANGE, CANDLES, RESULTS, HISTORY) if one in held), *sorted(named)):
            self._moves[self._staging / folder] = settings.home / folder

    def require_free(self, *, replace: bool) -> None:
        """
        Raises:
            StorageError: it is of another kind, in use, or something is there.
        """
        if self._manifest.storage != self._database.dialect:
            raise StorageError(
                f"the backup is of a ledger on {self._manifest.storage}, and TRADING_ASSETS_DATABASE_URL names one on "
                f"{self._database.dialect}; expected the same kind: nothing was changed"
            )
        migrations.require_known(self._manifest.revision)
        places = list(self._moves.values())
        users = users_of(self._settings, self._database, places)
        if users:
            raise StorageError(
                f"it is in use: {'; '.join(users)}. End the session, Dagster and the embedded exchange first "
                "(trading-assets exchange stop); nothing was changed"
            )
        there = [str(place) for place in places if _is_there(place)]
        if self._database.dialect == POSTGRESQL:
            with self._database.read() as connection:
                if migrations.revision_of(connection) is not None:
                    there.append(f"a ledger in {self._database.url.database}")
        if there and not replace:
            raise StorageError(
                f"there is something already: {', '.join(there)}; nothing was changed. With --replace it is kept "
                "aside, under another name"
            )
        needed = self._manifest.bytes + _ROOM_FOR_OTHERS
        free = shutil.disk_usage(private_folder(self._settings.home)).free
        if free < needed:
            raise StorageError(
                f"{self._settings.home} has {free / 1024**2:,.0f} MB left and the backup needs {needed / 1024**2:,.0f}"
                ": free some space; nothing was changed"
            )

    def unpack(self) -> None:
        """Every file beside its place, checked. Tables are read later, inside their transaction."""
        done = 0
        for name, part in self._manifest.parts.items():
            path = self._unpacked(name)
            if path is not None:
                private_folder(path.parent)
                path.unlink(missing_ok=True)
                with reading(self._archive, self._manifest, name) as stream, private_file(path).open("wb") as out:
                    pour(stream, out)
                if name == FILE or path.name == files.ACCOUNT:
                    check_sqlite(path)
                done += part.bytes
                self._tell("unpacked", done, self._manifest.bytes)

    def _unpacked(self, name: str) -> Path | None:
        head, *rest = PurePosixPath(name).parts
        if name == FILE:
            return next(iter(self._moves))
        return None if head == LEDGER else self._staging.joinpath(head, *rest)

    def put_in_place(self) -> list[str]:
        """Change the names; if one cannot be changed, those before it are changed back."""
        if self._database.dialect != POSTGRESQL:
            self._database.close()  # no connection may be left to the file that is moved away
            return self._move()
        manifest, aside, moved = self._manifest, f"replaced_{self._stamp.lower()}", list[str]()
        self._tell("tables", 0, 0)
        found = load_tables(
            self._database, manifest.revision, manifest.columns, self._part, aside, lambda: moved.extend(self._move())
        )
        return [*moved, *([f"schema {aside} in {self._database.url.database}"] if found else [])]

    def _part(self, name: str) -> AbstractContextManager[Checked]:
        self._tell("tables", 0, 0)
        return reading(self._archive, self._manifest, name)

    def _move(self) -> list[str]:
        undo: list[Callable[[], object]] = []
        aside = []
        try:
            for source, place in self._moves.items():
                if _is_there(place):
                    kept = place.with_name(f"{place.name}.replaced-{self._stamp}")
                    for ending in ("", "-wal", "-shm") if place.is_file() else ("",):
                        one, other = Path(f"{place}{ending}"), Path(f"{kept}{ending}")
                        if one.exists():
                            one.rename(other)
                            undo.append(partial(other.rename, one))
                    aside.append(str(kept))
                private_folder(place.parent)
                source.rename(place)
                undo.append(partial(place.rename, source))
        except OSError:
            for back in reversed(undo):
                with suppress(OSError):
                    back()
            raise
        return aside

    def close(self) -> None:
        self._database.close()
        shutil.rmtree(self._staging, ignore_errors=True)
        for source in self._moves:
            if source.is_file():
                with suppress(OSError):
                    source.unlink()


def _is_there(place: Path) -> bool:
    """A directory or file is there if it has something in it."""
    return any(place.iterdir()) if place.is_dir() else place.exists() and place.stat().st_size > 0


def _require_whole(archive: zipfile.ZipFile, manifest: Manifest) -> None:
    """
    Raises:
        DamagedFileError: parts are missing or of another size, or a name leads elsewhere.
    """
    sizes = {entry.filename: entry.file_size for entry in archive.infolist() if entry.filename != NAME}
    told: Mapping[str, int] = {name: part.bytes for name, part in manifest.parts.items()}
    if sizes != told:
        wrong = sorted(name for name in sizes.keys() | told.keys() if sizes.get(name) != told.get(name))
        raise DamagedFileError(
            f"the backup is not whole: {', '.join(wrong[:3])} and {max(len(wrong) - 3, 0)} more are not as its "
            "manifest says; take another one. Nothing was changed"
        )
    for name in told:
        parts = name.split("/")
        for part in parts:
            path_part(part, "a part of the backup")
        is_named = parts[0] == ACCOUNTS and len(parts) == 4 and parts[2:] == [EXCHANGE, files.ACCOUNT]
        if not is_named and (parts[0] not in (LEDGER, CANDLES, EXCHANGE, RESULTS, HISTORY) or len(parts) < 2):
            raise DamagedFileError(f"the backup has a part {name!r} that belongs nowhere; nothing was changed")


def _halted_from_now(settings: Settings, manifest: Manifest, by: str, put: Callable[[], list[str]]) -> list[str]:
    """Put the backup in place. The file in the home halts it first: a death before the ledger says so opens nothing."""
    names = {settings.account, manifest.account, *manifest.accounts}
    of = {name: settings.model_copy(update={"account": name}) for name in sorted(names)}
    fresh = [one for one in of.values() if halt_file.found(one) is None]
    for one in fresh:
        halt_file.write(one, reason=_reason(manifest), actor=by, wall_ms=local_ms())
    try:
        return put()
    except BaseException:
        for one in fresh:
            halt_file.take_away(one)
        raise


def _reason(manifest: Manifest) -> str:
    return f"restored from the backup of {iso(manifest.made_ms)}"


def _halt(settings: Settings, manifest: Manifest, by: str) -> tuple[tuple[str, ...], int]:
    """Nothing is opened before a person has looked: what was sent after the backup, this ledger does not know."""
    database = Database(settings.resolved_database_url, timeouts=patient(settings))
    reason = _reason(manifest)
    try:
        if installation.read(database) is not None:
            home_mark.adopt(database, settings)  # this home is meant from now on
        named = effective.names(database, settings)
        accounts = sorted({settings.account, manifest.account, *named, *books.accounts_of(database)})
        rejected = 0
        for account in accounts:
            risk_guard.command(database, account, RiskState.HALTED, reason=reason, actor=by, now_ms=local_ms())
            waiting = [str(row["signal_id"]) for row in signals.active(database, account)]
            signals.reject(database, waiting, reason)
            rejected += len(waiting)
        effective.remember_names(database, settings)  # the next halt must not wait for the ledger either
    finally:
        database.close()
    return tuple(accounts), rejected
