"""A Bot API on loopback, in a process of its own: what is used of Telegram's, its rules, and its faults on demand.

python -m trading_assets_tests.service.bot_api   # prints its port; state lives as long as the process
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message as MailMessage
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import PIPE, Popen
from typing import Any

import requests

TOKEN = "123456:hidden-token-of-the-bot"
OUR_NAME = "assets_test_bot"
_TAGS = re.compile(r"<(/?)(b|i|pre|code)>")


class State:
    """The updates that wait, what was sent, and the faults that are due."""

    def __init__(self, first_id: int) -> None:
        self.changed = threading.Condition()
        self.updates: list[dict[str, Any]] = []
        self.next_id = first_id
        self.sent: list[dict[str, Any]] = []
        self.faults: list[dict[str, Any]] = []
        self.polls = 0
        self.calls: dict[str, int] = {}
        self.repeats = 0
        self.offset = 0


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


def get_me(_: State, __: dict[str, Any]) -> Any:
    return {"id": 123456, "is_bot": True, "username": OUR_NAME}


def get_updates(state: State, given: dict[str, Any]) -> Any:
    """Blocks up to `timeout`; a second poller ends the first one; what is below `offset` is forgotten."""
    until = time.monotonic() + float(given.get("timeout", 0))
    with state.changed:
        state.polls += 1
        mine = state.polls
        state.changed.notify_all()
        offset = int(given.get("offset", 0))
        if state.repeats > 0 and state.updates:
            state.repeats -= 1
            return state.updates  # as after an answer that was lost on its way
        state.updates = [one for one in state.updates if one["update_id"] >= offset]
        state.offset = max(offset, state.offset)
        while not state.updates and time.monotonic() < until:
            state.changed.wait(until - time.monotonic())
            if state.polls != mine:
                raise Refused(409, "Conflict: terminated by other getUpdates request")
        return state.updates[: int(given.get("limit", 100))]


def _read(given: dict[str, Any], name: str) -> str:
    """A text as it is shown."""
    text = str(given.get(name, ""))
    if given.get("parse_mode") != "HTML":
        return text
    bare = _TAGS.sub("", text)
    if "<" in bare or ">" in bare or re.search(r"&(?!(lt|gt|amp|quot);)", bare):
        raise Refused(400, "Bad Request: can't parse entities")
    return bare.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def send_message(state: State, given: dict[str, Any]) -> Any:
    text = _read(given, "text")
    if not 0 < len(text) <= 4096:
        raise Refused(400, "Bad Request: message is too long")
    if str(given.get("chat_id")) == "403":
        raise Refused(403, "Forbidden: bot was blocked by the user")
    return _sent(state, {**given, "text": text})


def send_photo(state: State, given: dict[str, Any]) -> Any:
    if not given["photo"].startswith("\x89PNG"):
        raise Refused(400, "Bad Request: IMAGE_PROCESS_FAILED")
    caption = _read(given, "caption")
    if len(caption) > 1024:
        raise Refused(400, "Bad Request: message caption is too long")
    return _sent(state, {**given, "photo": len(given["photo"]), "text": caption})


def _sent(state: State, what: dict[str, Any]) -> Any:
    with state.changed:
        state.sent.append(what)
        state.changed.notify_all()
        return {"message_id": 5000 + len(state.sent)}


def answer_callback_query(state: State, given: dict[str, Any]) -> Any:
    if given["callback_query_id"] == "old":
        raise Refused(400, "Bad Request: query is too old and response timeout expired")
    return True


def get_chat(_: State, given: dict[str, Any]) -> Any:
    if str(given.get("chat_id")) == "404":
        raise Refused(400, "Bad Request: chat not found")
    return {"id": given["chat_id"], "type": "private"}


METHODS = {
    "getMe": get_me,
    "getChat": get_chat,
    "getUpdates": get_updates,
    "sendMessage": send_message,
    "sendPhoto": send_photo,
    "answerCallbackQuery": answer_callback_query,
    "setMyCommands": lambda *_: True,
    "getWebhookInfo": lambda *_: {"url": ""},
}


def control(state: State, what: dict[str, Any]) -> Any:
    """What a test asks for."""
    with state.changed:
        match what["do"]:
            case "push":
                update = {"update_id": state.next_id, **what["update"]}
                state.next_id += 1
                state.updates.append(update)
                state.changed.notify_all()
                return update["update_id"]
            case "fault":
                state.faults.append(what)
                return True
            case "repeat":
                state.repeats += int(what["times"])
                return True
            case "look":
                return {
                    "sent": state.sent,
                    "calls": state.calls,
                    "waiting": len(state.updates),
                    "offset": state.offset,
                }
    raise ValueError(what["do"])


def serve() -> None:
    state = State(int(sys.argv[2]))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/control":
                self.answer(200, {"ok": True, "result": control(state, json.loads(body))})
                return
            matched = re.fullmatch(r"/bot([^/]+)/(\w+)", self.path)
            try:
                if matched is None or matched[1] != TOKEN:
                    raise Refused(401, "Unauthorized")
                method = matched[2]
                with state.changed:
                    state.calls[method] = state.calls.get(method, 0) + 1
                    due = [one for one in state.faults if one["method"] == method]
                    if due:
                        state.faults.remove(due[0])
                if due and due[0].get("hang_s"):
                    time.sleep(due[0]["hang_s"])
                if due and due[0].get("after"):
                    METHODS[method](state, self.given(body))  # it was done, and the answer is lost
                if due and due[0].get("code"):
                    raise Refused(due[0]["code"], "on demand", **due[0].get("parameters", {}))
                self.answer(200, {"ok": True, "result": METHODS[method](state, self.given(body))})
            except Refused as error:
                said = {"ok": False, "error_code": error.code, "description": error.description}
                self.answer(error.code, {**said, "parameters": error.parameters})

        def given(self, body: bytes) -> dict[str, Any]:
            kind = self.headers.get("Content-Type", "")
            if kind.startswith("multipart/"):
                head = f"Content-Type: {kind}\r\n\r\n".encode()
                parts: list[MailMessage] = BytesParser().parsebytes(head + body).get_payload()  # type: ignore[assignment]
                found = {}
                for part in parts:
                    content: bytes = part.get_payload(decode=True)  # type: ignore[assignment]
                    name = part.get_param("name", header="content-disposition")
                    is_file = part.get_filename() is not None
                    found[str(name)] = content.decode("latin-1" if is_file else "utf-8")
                return found
            return json.loads(body or b"{}")

        def answer(self, code: int, what: object) -> None:
            told = json.dumps(what).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


class BotApi:
    """The process, as a test has it."""

    def __init__(self, port: int = 0, first_id: int = 1000) -> None:
        command = [sys.executable, "-m", "trading_assets_tests.service.bot_api", str(port), str(first_id)]
        self._process = Popen(command, stdout=PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        self._http = requests.Session()
        self._callback = 0

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._http.close()

    def _ask(self, **what: Any) -> Any:
        return self._http.post(f"{self.url}/control", json=what, timeout=30).json()["result"]

    def write(self, text: str, *, user: int = 1, chat: int | None = None, age_s: float = 0, **more: Any) -> int:
        """Somebody writes. Return the update's id."""
        message = {
            "message_id": 1,
            "date": int(time.time() - age_s),
            "text": text,
            "from": {"id": user, "username": f"user{user}"},
            "chat": {"id": user if chat is None else chat},
            **more,
        }
        return int(self._ask(do="push", update={"message": message}))

    def press(self, data: str, *, user: int = 1, chat: int | None = None, query: str = "") -> int:
        """Somebody presses a button."""
        self._callback += 1
        pressed = {
            "id": query or f"q{self._callback}",
            "data": data,
            "from": {"id": user, "username": f"user{user}"},
            "message": {"message_id": 2, "chat": {"id": user if chat is None else chat}},
        }
        return int(self._ask(do="push", update={"callback_query": pressed}))

    def fail(self, method: str, code: int = 0, *, times: int = 1, **more: Any) -> None:
        """The next calls of a method fail, hang, or are done and not answered."""
        for _ in range(times):
            self._ask(do="fault", method=method, code=code, **more)

    def repeat(self, times: int) -> None:
        """The next polls are given what they had confirmed."""
        self._ask(do="repeat", times=times)

    def look(self) -> dict[str, Any]:
        return dict(self._ask(do="look"))

    @property
    def sent(self) -> list[dict[str, Any]]:
        """What was sent to people, the oldest first."""
        return list(self.look()["sent"])

    def texts(self) -> list[str]:
        return [str(one["text"]) for one in self.sent]


@contextmanager
def bot_api() -> Iterator[BotApi]:
    found = BotApi()
    try:
        yield found
    finally:
        found.stop()


if __name__ == "__main__":
    serve()
