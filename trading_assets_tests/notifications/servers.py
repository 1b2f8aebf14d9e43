"""Messengers on loopback: one that speaks HTTP and one that speaks SMTP. Each can be told to fail, hang or refuse."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG = "hang"


@dataclass
class Messenger:
    """What it was sent, and how it answers.

    Attributes:
        titles: of the messages that it has taken.
        answer: an HTTP status, or `HANG`; for a title the one in `special`.
        release: lets hanging answers end.
    """

    port: int = 0
    titles: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    answer: Any = 200
    special: dict[str, Any] = field(default_factory=dict)
    tried: int = 0
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/a-secret-path"


@contextmanager
def http_messenger() -> Iterator[Messenger]:
    found = Messenger()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.tried += 1
            answer = found.special.get(sent["title"], found.answer)
            if answer == HANG:
                found.release.wait(120)
                return
            if answer == 200:
                found.titles.append(sent["title"])
                found.bodies.append(sent["message"])
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        found.release.set()
        server.shutdown()
        server.server_close()


@contextmanager
def smtp_messenger() -> Iterator[Messenger]:
    """Takes mails; with another answer than 200 it refuses them after their end."""
    found = Messenger()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                word = line.upper()
                if word == "DATA":
                    self.say("354 go on")
                    self.take()
                elif word == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

        def take(self) -> None:
            lines = []
            while (line := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                lines.append(line)
            found.tried += 1
            if found.answer != 200:
                self.say(f"{found.answer} no")
                return
            found.titles += [line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: ")]
            self.say("250 taken")

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
