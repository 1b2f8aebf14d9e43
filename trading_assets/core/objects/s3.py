"""S3 as a store of files by name: conditional writes (If-None-Match, If-Match), and copies on this machine.

It is asked through boto3, as the mirror and AWS' secrets are. fsspec has no conditional writes in its interface, and
s3fs would tie botocore to one version. Region, credentials and endpoint (`AWS_ENDPOINT_URL_S3`) come from AWS' own
chain. Errors of boto3 end here, and no text of S3's answers is passed on: it may name keys.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trading_assets.core.errors import ChangedMeanwhileError, StorageError
from trading_assets.core.objects.base import Stored
from trading_assets.core.private_files import path_part, private_folder

_CONNECT_S, _READ_S = 5, 15
_TRIES = 5
"""Of one request: boto3 asks again after 500, 503 and broken connections, with rests that grow."""

_TRIES_OF_A_BODY = 2
_CONNECTIONS = 16
_CHANGED = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}
_COPY_KEPT_S = 3600.0
"""An older copy stays so long: another process may just be about to open it."""

_TODO = {
    "NoSuchBucket": "make the bucket, or correct TRADING_ASSETS_STORE_URL",
    "AccessDenied": "let the role list, read, write and delete below it (docs/howto/store.md)",
    "403": "let the role list, read, write and delete below it (docs/howto/store.md)",
    "InvalidAccessKeyId": "put in another access key",
    "SignatureDoesNotMatch": "put in the secret of this access key",
    "ExpiredToken": "get new credentials",
    "InternalError": "S3 has a fault; try again later",
    "SlowDown": "it is asked too often; try again later",
}


class S3Objects:
    """`Objects` below a prefix of a bucket.

    Args:
        cache: directory of the copies. It may be deleted at any time.
    """

    def __init__(self, bucket: str, prefix: str, cache: Path) -> None:
        self.bucket, self.prefix, self.cache = bucket, prefix, cache
        self._held: tuple[int, Any] | None = None
        self._opening = threading.Lock()

    def url(self, name: str = "") -> str:
        return "/".join(part for part in (f"s3://{self.bucket}", self.prefix, name) if part)

    def listed(self, prefix: str = "", *, after: str = "") -> Iterator[Stored]:
        given: dict[str, Any] = {"Prefix": self._below(prefix)}
        if after:
            given["StartAfter"] = self._below(after)
        for page in self._pages(**given):
            for found in page.get("Contents", ()):
                yield Stored(
                    found["Key"][len(self._below("")) :],
                    found["ETag"],
                    int(found["Size"]),
                    found["LastModified"].timestamp(),
                )

    def folders(self, prefix: str = "") -> list[str]:
        start = len(self._below(prefix))
        pages = self._pages(Prefix=self._below(prefix), Delimiter="/")
        return [found["Prefix"][start:].rstrip("/") for page in pages for found in page.get("CommonPrefixes", ())]

    def read(self, name: str) -> tuple[bytes, str] | None:
        try:
            return self._get(name)
        except _AnswerError as error:
            if error.answer in _ABSENT:
                return None
            raise self._unusable(error, name) from None

    def fetch(self, stored: Stored, *, again: bool = False) -> Path:
        path = self._copy_of(stored)
        if not again and path.exists():
            return path
        try:
            content, _ = self._get(stored.name, IfMatch=stored.version)
        except _AnswerError as error:
            if error.answer in _CHANGED | _ABSENT:
                raise self._changed(stored.name) from None
            raise self._unusable(error, stored.name) from None
        return self._keep(path, stored.name, content)

    def write(self, name: str, content: bytes, *, replaces: str | None) -> Stored:
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        try:
            return self._put(name, content, **condition)
        except _AnswerError as error:
            if error.answer in _CHANGED | _ABSENT:  # absent: what was to be replaced is gone
                raise self._changed(name) from None
            raise self._unusable(error, name) from None

    def put(self, name: str, content: bytes) -> Stored:
        try:
            return self._put(name, content)
        except _AnswerError as error:
            raise self._unusable(error, name) from None

    def delete(self, stored: Stored) -> bool:
        try:
            self._call("delete_object", Key=self._key(stored.name), IfMatch=stored.version)
        except _AnswerError as error:
            if error.answer in _CHANGED | _ABSENT:
                return False
            raise self._unusable(error, stored.name) from None
        with contextlib.suppress(OSError):
            self._copy_of(stored).unlink(missing_ok=True)
        return True

    # Copies

    def _copy_of(self, stored: Stored) -> Path:
        """A copy's name has the version in it: so it is never taken for another, whoever is killed when."""
        name = Path(stored.name)
        tag = "".join(one for one in stored.version if one.isalnum())
        return self.cache / name.parent / f"{name.stem}.{tag}{name.suffix}"

    def _keep(self, path: Path, name: str, content: bytes) -> Path:
        try:
            private_folder(path.parent)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            for other in path.parent.glob(f"{Path(name).stem}.*{path.suffix}"):
                with contextlib.suppress(OSError):
                    if other != path and other.stat().st_mtime < time.time() - _COPY_KEPT_S:
                        other.unlink()
        except OSError as error:
            raise StorageError(
                f"a copy of {self.url(name)} cannot be written to {path.parent}: {error.strerror or error}. Free some "
                "space or choose another directory with TRADING_ASSETS_STORE_CACHE_DIR"
            ) from error
        return path

    # Requests

    def _key(self, name: str) -> str:
        for part in name.split("/"):
            path_part(part, "file")
        return self._below(name)

    def _below(self, start: str) -> str:
        return f"{self.prefix}/{start}" if self.prefix else start

    def _get(self, name: str, **given: Any) -> tuple[bytes, str]:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 (boto3 costs half a second)

        left = _TRIES_OF_A_BODY
        while True:
            told = self._call("get_object", Key=self._key(name), **given)
            try:
                return told["Body"].read(), str(told["ETag"])
            except (BotoCoreError, OSError) as error:  # boto3 asks again only until an answer begins
                left -= 1
                if not left:
                    raise self._silent(error) from None

    def _put(self, name: str, content: bytes, **condition: str) -> Stored:
        told = self._call("put_object", Key=self._key(name), Body=content, **condition)
        stored = Stored(name, str(told["ETag"]), len(content), time.time())
        with contextlib.suppress(StorageError):  # it is in S3; a copy can be made later
            self._keep(self._copy_of(stored), name, content)
        return stored

    def _pages(self, **given: Any) -> Iterator[dict[str, Any]]:
        while True:
            try:
                page = self._call("list_objects_v2", **given)
            except _AnswerError as error:
                raise self._unusable(error, "") from None
            yield page
            if not page.get("IsTruncated"):
                return
            given = {**given, "ContinuationToken": page["NextContinuationToken"]}

    def _call(self, method: str, **given: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 (boto3 costs half a second)

        try:
            told: dict[str, Any] = getattr(self._client(), method)(Bucket=self.bucket, **given)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise _AnswerError(method, code or "without a code") from None
        except (BotoCoreError, OSError, ValueError) as error:
            raise self._silent(error) from None
        return told

    def _silent(self, error: Exception) -> StorageError:
        return StorageError(
            f"{self.url()} does not answer ({type(error).__name__}); check region, credentials, network and "
            "AWS_ENDPOINT_URL_S3. Nothing was changed, as far as is known"
        )

    def _changed(self, name: str) -> ChangedMeanwhileError:
        return ChangedMeanwhileError(f"{self.url(name)} was written by another process meanwhile")

    def _unusable(self, error: _AnswerError, name: str) -> StorageError:
        todo = _TODO.get(error.answer, "look at the bucket and the role")
        return StorageError(f"S3 refused {error.method} of {self.url(name)}: {error.answer}; {todo}")

    def _client(self) -> Any:
        import boto3  # noqa: PLC0415 (as above)
        from botocore.config import Config  # noqa: PLC0415 (as above)

        with self._opening:
            if self._held is None or self._held[0] != os.getpid():  # a child must not share its parent's connections
                logging.getLogger("botocore").setLevel(logging.INFO)  # at DEBUG it prints what is signed
                retries: Any = {"mode": "standard", "total_max_attempts": _TRIES}
                patience = Config(
                    connect_timeout=_CONNECT_S,
                    read_timeout=_READ_S,
                    retries=retries,
                    max_pool_connections=_CONNECTIONS,
                )
                self._held = (os.getpid(), boto3.session.Session().client("s3", config=patience))
            return self._held[1]


class _AnswerError(Exception):
    """S3 answered, with an error."""

    def __init__(self, method: str, code: str) -> None:
        super().__init__(code)
        self.method, self.answer = method, code
