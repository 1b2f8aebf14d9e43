"""Files by name that several processes or machines write without losing anything: in a directory, or in S3.

A write says which version it replaces, and is refused where another writer was first: read again, and decide again. So
nothing needs a lock that holds between machines, or a rename. What the files hold, their owners know.
"""

from __future__ import annotations

import re
from pathlib import Path

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.objects.base import Objects, Stored
from trading_assets.core.objects.files import FileObjects
from trading_assets.core.objects.s3 import S3Objects
from trading_assets.core.settings import Settings

__all__ = ["FileObjects", "Objects", "S3Objects", "Stored", "open_objects"]

_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*)/?")


def open_objects(settings: Settings, part: str) -> Objects:
    """What the installation keeps of one kind: `candles/bybit`, `reports`. In the home, or where `store_url` says.

    Raises:
        ConfigurationError: the URL is none of S3.
    """
    if settings.store_url is None:
        return FileObjects(settings.home / part)
    found = _S3.fullmatch(settings.store_url)
    if found is None:
        raise ConfigurationError(
            f"TRADING_ASSETS_STORE_URL is {settings.store_url!r}; expected s3://BUCKET or s3://BUCKET/PREFIX"
        )
    prefix = f"{found[2].strip('/')}/{part}".strip("/")
    return S3Objects(found[1], prefix, cache_folder(settings) / part)


def cache_folder(settings: Settings) -> Path:
    """Where copies of what S3 has are kept. It may be deleted at any time."""
    return settings.store_cache_dir or settings.home / "copies"
