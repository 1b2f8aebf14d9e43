"""S3 on this machine, by HTTP: moto's, and before it what throttles, breaks, or loses answers on demand.

moto compares a version and writes in two steps. S3 does both in one, so requests are let in one after another.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

Rule = Callable[[str, str], tuple[int, str] | None]
"""Told method and path; a status and a code in S3's place, or nothing."""

BUCKET = "candles-of-the-test"
SECRET = "wJalr-secret-of-the-test"
KEY_ID = "AKIAOFTHETEST"


@dataclass
class S3Front:
    """Stands before S3. `answer_lost`: the request is done, and its answer replaced."""

    port: int = 0
    rule: Rule | None = None
    answer_lost: Rule | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str) -> int:
        return sum(1 for one, _ in self.calls if one == method)


@contextmanager
def s3_server() -> Iterator[S3Front]:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    front, moto = S3Front(), DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        asked = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with front.lock:
            front.calls.append(asked)
            ruled = front.rule(*asked) if front.rule is not None else None
            if ruled is not None:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            if ruled is None:
                answered: list[Any] = []
                content = list(moto(environ, lambda *given: answered.append(given)))
                ruled = front.answer_lost(*asked) if front.answer_lost is not None else None
        if ruled is not None:
            status, code = ruled
            text = f"<Error><Code>{code}</Code><Message>{KEY_ID} {SECRET}</Message></Error>".encode()
            start(f"{status} no", [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))])
            return [text]
        start(*answered[0][:2])
        return content

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    front.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()


def s3_environment(url: str) -> dict[str, str]:
    return {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def point_at(front: S3Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment of boto3 for this server, and an empty bucket."""
    import boto3
    import requests

    front.rule = front.answer_lost = None
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    requests.post(f"{front.url}/moto-api/reset", timeout=30)
    for name, value in s3_environment(front.url).items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    front.calls.clear()
