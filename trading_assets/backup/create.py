"""`trading-assets backup`: a home into one file, while a session trades."""

from __future__ import annotations

import dataclasses
import shutil
import time
import zipfile
from collections.abc import Callable
from contextlib import nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trading_assets.accounts import effective
from trading_assets.backup.ledger_copy import LedgerCopy, Writable, copy_sqlite, ledger_of_a_moment, pour
from trading_assets.backup.manifest import (
    ACCOUNTS,
    CANDLES,
    EXCHANGE,
    FORMAT,
    HISTORY,
    NAME,
    RESULTS,
    Checked,
    Manifest,
    Part,
)
from trading_assets.core.configuration import PREFIX
from trading_assets.core.deadline import PARTS
from trading_assets.core.errors import StorageError
from trading_assets.core.private_files import private_file, private_folder
from trading_assets.core.settings import SECRET_SETTINGS, Settings
from trading_assets.core.timeframes import iso, local_ms
from trading_assets.history.library import Library
from trading_assets.ledger import books, migrations
from trading_assets.ledger.database import Database, Timeouts
from trading_assets.simulator import files

Progress = Callable[[str, int, int], None]
"""Takes what is written, and how many bytes of how many (0: nobody knows)."""

KEYS = {"api_key": "BYBIT_API_KEY", "api_secret": "BYBIT_API_SECRET"}
_PARTIAL = ".partial"
_ROOM_FOR_OTHERS = 64 * 1024**2
_YIELD_EVERY = 200


def back_up(
    settings: Settings, path: Path, *, candles: bool = True, history: bool = False, tell: Progress = lambda *_: None
) -> Path:
    """Write a backup. Ledger and accounts of embedded exchanges are of one moment; others go on trading.

    Args:
        path: a file that is not there yet, or a directory, in which the file gets a name with venue, account and time.
        candles: put them in, too. They can be fetched again.
        history: put the library of imported history in, too. Nothing is imported meanwhile.

    Returns: the file.

    Raises:
        StorageError: something cannot be read or written, the file is there, there is no room for it, or an import
            writes the library.
    """
    target = _target(settings, path)
    partial = target.with_name(target.name + _PARTIAL)
    database = Database(settings.resolved_database_url, timeouts=patient(settings), upgrade=False)
    try:
        private_folder(target.parent)
        library = Library(settings.home / HISTORY)
        with library.locked() if history and library.exists else nullcontext():
            stored = [*(_files(settings, CANDLES) if candles else []), *(_files(settings, HISTORY) if history else [])]
            _require_room(settings, database, stored, target)
            partial.unlink(missing_ok=True)
            with private_file(partial).open("r+b") as out, zipfile.ZipFile(out, "w", allowZip64=True) as archive:
                _write(settings, database, archive, stored, target.parent, tell)
        partial.rename(target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}; nothing is left of it") from error
    finally:
        database.close()
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return target


def patient(settings: Settings) -> Timeouts:
    """Those of the settings, but a table may take long."""
    return dataclasses.replace(Timeouts.of(settings), statement=PARTS * settings.command_deadline_s)


def _target(settings: Settings, path: Path) -> Path:
    path = path.expanduser().resolve()
    if path.is_dir():
        moment = iso(local_ms()).replace("-", "").replace(":", "")
        path = path / f"trading-assets-{settings.venue.value}-{settings.account}-{moment}.zip"
    if path.exists():
        raise StorageError(f"{path} is there already; expected a new name, or a directory: nothing was written")
    return path


def _files(settings: Settings, part: str) -> list[tuple[Path, int]]:
    """Files of candles, results or history and their sizes; not what is being written, nor locks."""
    root, found = settings.home / part, []
    for path in sorted(root.rglob("*")):
        if path.name.startswith(".") or path.name.endswith((".lock", ".damaged")):
            continue
        with suppress(FileNotFoundError):  # taken away meanwhile
            if path.is_file() and not path.is_symlink():
                found.append((path, path.stat().st_size))
    return found


def library_of(settings: Settings) -> tuple[int, int]:
    """How many files the library of imported history has, and their bytes."""
    sizes = [size for _, size in _files(settings, HISTORY)]
    return len(sizes), sum(sizes)


def _exchange_accounts(settings: Settings) -> dict[str, Path]:
    """Files of the accounts of embedded exchanges, that of the settings and those of named ones, by part."""
    places = [Path(EXCHANGE), *(Path(ACCOUNTS, one.name, EXCHANGE) for one in (settings.home / ACCOUNTS).glob("*"))]
    found = {(place / files.ACCOUNT).as_posix(): settings.home / place / files.ACCOUNT for place in sorted(places)}
    return {part: path for part, path in found.items() if path.is_file() and not path.is_symlink()}


def _require_room(settings: Settings, database: Database, stored: list[tuple[Path, int]], target: Path) -> None:
    ledger = Path(database.url.database or "") if database.dialect == "sqlite" else None
    databases = [*_exchange_accounts(settings).values(), *([ledger] if ledger is not None else [])]
    copied = sum(path.stat().st_size for path in databases if path.is_file())
    needed = 2 * copied + sum(size for _, size in (*stored, *_files(settings, RESULTS))) + _ROOM_FOR_OTHERS
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise StorageError(
            f"{target.parent} has {free / 1024**2:,.0f} MB left and the backup needs up to {needed / 1024**2:,.0f}; "
            "free some space, or choose another disk: nothing was written"
        )


def _write(
    settings: Settings,
    database: Database,
    archive: zipfile.ZipFile,
    stored: list[tuple[Path, int]],
    folder: Path,
    tell: Progress,
) -> None:
    parts, copied = dict[str, Part](), dict[str, Path]()

    def take_accounts() -> None:
        for at, (name, path) in enumerate(_exchange_accounts(settings).items()):
            copied[name] = folder / f".{files.ACCOUNT}.{at}.copying"
            copy_sqlite(path, copied[name])

    try:
        tell("ledger", 0, 0)
        with ledger_of_a_moment(database, folder, take_accounts) as ledger:
            made_ms = local_ms()
            for at, (name, write) in enumerate(ledger.writers.items(), 1):
                parts[name] = _add(archive, name, write)
                tell("ledger", at, len(ledger.writers))
        for name, path in copied.items():
            parts[name] = _add_file(archive, name, path)
    finally:
        for path in copied.values():
            path.unlink(missing_ok=True)
    # After the ledger: what it names stays for an hour, also where it is replaced meanwhile.
    stored = [*_files(settings, RESULTS), *stored]
    done, total = 0, sum(size for _, size in stored)
    for at, (path, size) in enumerate(stored):
        name = path.relative_to(settings.home).as_posix()
        with suppress(FileNotFoundError):
            parts[name] = _add_file(archive, name, path, packed=path.suffix != ".parquet")
        done += size
        if at % _YIELD_EVERY == 0 or done == total:
            tell("files", done, total)
    manifest = _manifest(settings, made_ms, ledger, parts)
    if ledger.revision == migrations.HEAD:
        manifest = _with_accounts(manifest, settings, database)
    archive.writestr(_entry(NAME, packed=True), manifest.text())


def _add(archive: zipfile.ZipFile, name: str, write: Callable[[Writable], None], *, packed: bool = True) -> Part:
    with archive.open(_entry(name, packed=packed), "w", force_zip64=True) as out:
        checked = Checked(out)  # type: ignore[arg-type]
        write(checked)
    return checked.part


def _add_file(archive: zipfile.ZipFile, name: str, path: Path, *, packed: bool = True) -> Part:
    with path.open("rb") as stream:
        return _add(archive, name, lambda out: pour(stream, out), packed=packed)


def _entry(name: str, *, packed: bool) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, time.gmtime()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    entry._compresslevel = 1  # type: ignore[attr-defined]
    entry.external_attr = 0o600 << 16
    return entry


def plain_settings(settings: Settings) -> dict[str, str]:
    """Settings that are not at their defaults and have no secret, by variable, as text."""
    return {
        _variable(name): str(getattr(settings, name))
        for name, field in Settings.model_fields.items()
        if name not in SECRET_SETTINGS and getattr(settings, name) != field.get_default(call_default_factory=True)
    }


def _manifest(settings: Settings, made_ms: int, ledger: LedgerCopy, parts: dict[str, Part]) -> Manifest:
    try:
        program = version("trading-assets")
    except PackageNotFoundError:
        program = "unknown"
    return Manifest(
        format=FORMAT,
        program=program,
        made_ms=made_ms,
        venue=settings.venue.value,
        account=settings.account,
        storage=ledger.storage,
        revision=ledger.revision,
        columns=ledger.columns,
        settings=plain_settings(settings),
        secrets=[_variable(name) for name in SECRET_SETTINGS if getattr(settings, name)],
        parts=parts,
    )


def _variable(name: str) -> str:
    return KEYS.get(name, f"{PREFIX}{name.upper()}")


def _with_accounts(manifest: Manifest, settings: Settings, database: Database) -> Manifest:
    owners = {name: str(owner) for name, owner in books.accounts_of(database).items() if owner.is_bound}
    names = effective.names(database, settings)
    return dataclasses.replace(manifest, owners=owners, accounts=names, market=books.market_of(database))
