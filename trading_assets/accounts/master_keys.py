"""The master keys under which the keys of named accounts are kept: where they are given, and how a new one is made.

They are never in the ledger: whoever has a copy of it has no keys. The first one seals, all of them open.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, MultiFernet

from trading_assets.core import aws
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.private_files import write_private
from trading_assets.core.secret_text import know
from trading_assets.core.settings import PREFIX, Settings

_CONTEXT = {"use": "trading-assets accounts"}
"""AWS KMS decrypts in the same context alone."""

_HOW = f"set {PREFIX}ENCRYPTION_KEY or {PREFIX}ENCRYPTION_KEY_FROM; a new key: trading-assets accounts encryption new"


class MasterKeys:
    """Keys of an installation, the newest first. Their text is in no repr."""

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except (ValueError, TypeError):
            raise ConfigurationError(
                "a master key is no Fernet key (32 bytes in URL-safe base64; a password is none): "
                "trading-assets accounts encryption new makes one"
            ) from None
        know(*keys)
        self._newest = keys[0]
        self.names = tuple(_name_of(key) for key in keys)

    @property
    def only_newest(self) -> MasterKeys:
        """The newest key alone."""
        return MasterKeys([self._newest])

    @property
    def newest(self) -> str:
        """Which key seals: the beginning of its SHA-256."""
        return self.names[0]

    def seal(self, text: bytes) -> str:
        """Encrypt under the newest key."""
        return self._fernet.encrypt(text).decode()

    def open(self, sealed: str) -> bytes:
        """Decrypt. Raises `cryptography.fernet.InvalidToken` where no key fits, or the text was changed."""
        return self._fernet.decrypt(sealed.encode())


def load(settings: Settings) -> MasterKeys:
    """Read the master keys.

    Raises:
        ConfigurationError: there are none, or they cannot be read.
    """
    if settings.encryption_key is not None:
        return _of_text(settings.encryption_key.get_secret_value(), f"{PREFIX}ENCRYPTION_KEY")
    if settings.encryption_key_from is None:
        raise ConfigurationError(f"there is no master key for the keys of named accounts: {_HOW}")
    kind, _, name = settings.encryption_key_from.partition(":")
    if kind == "aws-secret":
        return _of_text(aws.secret_text(name), f"the secret {name!r}")
    text = _read_private(Path(name).expanduser())
    if kind == "aws-kms":
        blobs = [line.strip() for line in text.splitlines() if line.strip()]
        try:
            text = ",".join(aws.decrypted(base64.b64decode(blob, validate=True), _CONTEXT).decode() for blob in blobs)
        except ValueError:
            raise ConfigurationError(f"the file {name} has no lines of base64, as AWS KMS gives them") from None
    return _of_text(text, f"the file {name}")


def stamp(settings: Settings) -> int:
    """When the file of the master keys was changed last; 0 where there is none."""
    kind, _, name = (settings.encryption_key_from or "").partition(":")
    try:
        return Path(name).expanduser().stat().st_mtime_ns if kind in ("file", "aws-kms") else 0
    except OSError:
        return 0


def exposed(settings: Settings) -> str:
    """Say that every user of the machine can read the file of the master keys; empty where none can, or there is none.

    Mounted secrets have such modes, inside a container where nobody else is.
    """
    kind, _, name = (settings.encryption_key_from or "").partition(":")
    path = Path(name).expanduser()
    try:
        is_open = kind == "file" and bool(path.stat().st_mode & 0o004)
    except OSError:
        return ""
    return f"every user can read the file {path} of the master key: chmod 600 {path}" if is_open else ""


def is_given(settings: Settings) -> bool:
    """Whether the settings name master keys."""
    return settings.encryption_key is not None or settings.encryption_key_from is not None


def new_key() -> str:
    """Return a new key as text."""
    return Fernet.generate_key().decode()


def put_first(path: Path, *, kms_key: str | None = None) -> str:
    """Put a new key before those of a file, which is made for its owner alone where there is none. Return its name.

    Args:
        kms_key: AWS KMS encrypts it under this key.

    Raises:
        ConfigurationError: the file cannot be read or written, or AWS KMS does not answer.
    """
    key = new_key()
    line = key if kms_key is None else base64.b64encode(aws.encrypted(kms_key, key.encode(), _CONTEXT)).decode()
    before = _read_private(path) if path.exists() else ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, "\n".join([line, *before.split()]) + "\n")
    except OSError as error:
        raise ConfigurationError(f"the file {path} cannot be written: {error.strerror}") from None
    return _name_of(key)


def _of_text(text: str, where: str) -> MasterKeys:
    keys = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    if not keys:
        raise ConfigurationError(f"{where} has no master key in it: {_HOW}")
    return MasterKeys(keys)


def _read_private(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if mode & 0o022:
            raise ConfigurationError(
                f"the file {path} of the master key can be written by others (mode {mode & 0o777:o}), expected 600, or "
                f"440 as mounted secrets have: chmod 600 {path}"
            )
        if path.stat().st_uid not in (os.getuid(), 0):
            raise ConfigurationError(f"the file {path} of the master key belongs to another user")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the file {path} of the master key cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"the file {path} of the master key is no text") from None


def _name_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:8]
