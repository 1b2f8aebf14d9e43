"""DynamoDB on this machine, by HTTP: moto's, and before it whatever throttles, breaks or breaks off on demand."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from trading_assets_tests.polling import until

Answer = tuple[int, dict[str, Any]]
Rule = Callable[[str, dict[str, Any]], Answer | None]
"""What is done to a call, by its name and body: an answer in DynamoDB's place, or nothing. It may change the body."""


@dataclass
class DynamoFront:
    """Stands before DynamoDB. `calls` counts what was asked, by name; `after` is called when a call was done."""

    upstream: str
    port: int = 0
    rule: Rule | None = None
    after: Callable[[str], None] | None = None
    calls: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def refusal(code: str) -> Answer:
    """An error as DynamoDB gives it."""
    return 400, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "on demand"}


@contextmanager
def front_of(upstream: str) -> Iterator[DynamoFront]:
    front = DynamoFront(upstream)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = self.headers["X-Amz-Target"].partition(".")[2]
            with front.lock:
                front.calls[name] = front.calls.get(name, 0) + 1
            ruled = front.rule(name, body) if front.rule is not None else None
            if ruled is not None:
                self.say(ruled[0], json.dumps(ruled[1]).encode())
                return
            left = body.pop("left", None)  # of a batch, what the rule took out of it
            kept = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "content-length")}
            answer = requests.post(front.upstream, data=json.dumps(body), headers=kept, timeout=60)
            content = answer.content
            if left and answer.ok:
                content = json.dumps({**answer.json(), "UnprocessedItems": left}).encode()
            if front.after is not None:
                front.after(name)
            self.say(answer.status_code, content)

        def say(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    front.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def moto_server() -> Iterator[str]:
    """The URL of moto."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def forget_all(url: str) -> None:
    """Take every table of moto away."""
    requests.post(f"{url}/moto-api/reset", timeout=30)


def set_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as any server on this machine takes."""
    for name, value in {
        "AWS_DEFAULT_REGION": "ap-northeast-2",
        "AWS_ACCESS_KEY_ID": "AKIAOFTHETASK",
        "AWS_SECRET_ACCESS_KEY": "of-the-task",
    }.items():
        monkeypatch.setenv(name, value)


@contextmanager
def dynalite_server() -> Iterator[str]:
    """The URL of dynalite, which refuses what moto lets pass. The project does not install it.

    Raises:
        FileNotFoundError: the command `dynalite` is not on the path.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        ["dynalite", "--host", "127.0.0.1", "--port", str(port), "--createTableMs", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(lambda: _answers(url))
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code > 0
    except requests.ConnectionError:
        return False
