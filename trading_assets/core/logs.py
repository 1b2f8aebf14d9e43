"""The log of a process: JSON lines, or plain ones, on standard error. What is logged is decided where it is known.

The standard library's logging is underneath: every logger of the process, those of libraries too, ends in the one
handler here. Secrets are taken out of all that it writes. `docs/howto/observe.md` has the fields.
"""

from __future__ import annotations

import contextvars
import io
import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TextIO
from urllib.parse import unquote

from trading_assets.core import trace
from trading_assets.core.configuration import KEY_VARIABLES, PREFIX, Given
from trading_assets.core.foreign_text import message_of, plain
from trading_assets.core.secret_text import hidden, know, parts_of_url
from trading_assets.core.settings import SECRET_SETTINGS
from trading_assets.core.trace import trace_id_of

FORMAT_VARIABLE, LEVEL_VARIABLE = f"{PREFIX}LOG_FORMAT", f"{PREFIX}LOG_LEVEL"
JSON, TEXT = "json", "text"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

IDENTITIES = (
    *("account", "run_id", "job", "step", "symbol", "strategy", "timeframe"),
    *("signal_id", "order_link_id", "order_id", "trace_id", "event"),
)
"""Fields that say what a line is about; each is there where it is known."""

FIGURES = ("candle_closed", "side", "qty", "price", "pnl", "reason", "outcome")
"""Fields of the lines about orders."""

OURS = "trading_assets"
"""The logger above all of this package."""

_ENDPOINT_SECRETS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")

_bound: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar("bound", default=MappingProxyType({}))
_of_process: dict[str, object] = {}
_started: _Handler | None = None


def start(service: str, given: Mapping[str, str] | None = None) -> bool:
    """Write this process's log as the settings say, and export its spans where a collector is named.

    With neither setting nothing is done: warnings go to standard error as Python writes them. A second call changes
    nothing. Return whether the log is written by this module.

    Args:
        service: name of this process among ours.
        given: settings by name in capitals; default: environment and configuration file.

    Raises:
        ConfigurationError: the file that is named does not exist.
    """
    global _started  # noqa: PLW0603 (one log for the process)
    if _started is not None:
        return True
    given = Given.read().both if given is None else given
    learn_secrets(given)
    is_json, level = given.get(FORMAT_VARIABLE, "").strip() == JSON, given.get(LEVEL_VARIABLE, "").strip().upper()
    if not is_json and level not in LEVELS:
        trace.start(service)
        return False
    # What this process starts is given the same, as the embedded exchange, which reads no file.
    os.environ |= {FORMAT_VARIABLE: JSON if is_json else TEXT, LEVEL_VARIABLE: level if level in LEVELS else "INFO"}
    _started = _Handler(_own_stream(), JsonLines(service) if is_json else TextLines())
    _started.addFilter(_is_written_here_alone)
    logging.getLogger().addHandler(_started)
    logging.getLogger(OURS).setLevel(os.environ[LEVEL_VARIABLE])
    trace.start(service)
    return True


def learn_secrets(given: Mapping[str, str] | None = None) -> None:
    """From now on `hidden` takes the secrets of the settings out of texts of this process.

    Args:
        given: see `start`.
    """
    know(*_secrets(Given.read().both if given is None else given))


def stop() -> None:
    """Take the handler away again: for tests, and for who starts anew."""
    global _started  # noqa: PLW0603 (as above)
    if _started is not None:
        logging.getLogger().removeHandler(_started)
        logging.getLogger(OURS).setLevel(logging.NOTSET)
        _started.close()
        _started = None
    _of_process.clear()


def is_json() -> bool:
    """Whether the log of this process is JSON lines."""
    return _started is not None and isinstance(_started.formatter, JsonLines)


def logger_like(name: str, level: str | int) -> logging.Logger:
    """A logger of its own that writes as this process does: for records that reach the root by no other way."""
    one = logging.Logger(name, level)
    if _started is not None:
        one.addHandler(_Handler(_started.stream, _started.formatter, level=logging.getLogger(OURS).level))
    return one


def of_process(**fields: object) -> None:
    """Fields of every line from now on, as those of the run that this process executes."""
    _of_process.update(fields)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Fields of every line that is written inside the block, by this thread."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


class JsonLines(logging.Formatter):
    """Each record as one JSON object on one line. It never raises."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """See logging's."""
        return json.dumps(_fit(entry(record, self._service)), allow_nan=False)


class TextLines(logging.Formatter):
    """Each record as one line for a person; a traceback stays below it."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging's."""
        shown = entry(record, "")
        about = " ".join(f"{name}={shown[name]}" for name in ("symbol", "trace_id") if name in shown)
        head = f"{shown['timestamp']} {record.levelname} {record.name}: {plain(shown['message'])}"
        below = "\n".join(f"  | {plain(one)}" for one in shown.get("exception", "").splitlines())
        return hidden("\n".join(filter(None, [f"{head} [{about}]" if about else head, below])))


def entry(record: logging.LogRecord, service: str) -> dict[str, Any]:
    """What a line says of a record, by field. The message and fields of others are as they were given."""
    moment = datetime.fromtimestamp(record.created, UTC)
    found: dict[str, Any] = {
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "service": service,
        "logger": record.name,
        "message": message_of(record),
    }
    told = {**_of_process, **_bound.get(), **_of_dagster(record, found)}
    for name in (*IDENTITIES, *FIGURES):
        value = getattr(record, name, None)
        value = told.get(name) if value is None else value
        if value is not None and value != "":
            found[name] = value
    if "trace_id" not in found and isinstance(found.get("signal_id"), str):
        found["trace_id"] = trace_id_of(found["signal_id"])
    if record.exc_info and record.exc_info[0] is not None:
        found["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
    elif record.exc_text:
        found["exception"] = record.exc_text
    elif "exception" in told:
        found["exception"] = told["exception"]
    return found


def _of_dagster(record: logging.LogRecord, found: dict[str, Any]) -> dict[str, object]:
    """What Dagster has put on a record of `context.log`. The message is that without its prefix."""
    meta = getattr(record, "dagster_meta", None)
    if not isinstance(meta, Mapping):
        return {}
    found["message"] = meta.get("orig_message") or found["message"]
    told = {"run_id": meta.get("run_id"), "job": meta.get("job_name"), "step": meta.get("step_key")}
    tags = meta.get("job_tags")
    if isinstance(tags, Mapping):
        told["account"] = tags.get("trading_assets/account")
    event = meta.get("dagster_event")
    if event is not None:
        told["event"] = str(getattr(event, "event_type_value", "")).lower()
        error = getattr(getattr(event, "event_specific_data", None), "error", None)
        if error is not None:
            told["exception"] = error.to_string()
    return {name: value for name, value in told.items() if value is not None}


class _Handler(logging.StreamHandler[TextIO]):
    """Writes a record and its line's end at once, so that lines of several processes stay apart. It never raises."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter | None, level: int = logging.NOTSET) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self.setLevel(level)

    def handleError(self, record: logging.LogRecord) -> None:
        """A log that cannot be written, as to a pipe that was closed, stops no order."""


def _own_stream() -> TextIO:
    """Standard error as it is now: Dagster turns that of a step into a file, and whoever collects lines sees none."""
    try:
        return io.open(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")  # noqa: UP020 (lives as long as the process)
    except OSError:
        return sys.stderr


def _is_written_here_alone(record: logging.LogRecord) -> bool:
    """Whether nobody else writes the record: Dagster's servers and its runs have handlers of their own."""
    if hasattr(record, "dagster_meta"):
        return False
    one: logging.Logger | None = logging.getLogger(record.name)
    while one is not None and one.parent is not None:
        if any(isinstance(handler, logging.StreamHandler) for handler in one.handlers):
            return False
        one = one.parent if one.propagate else None
    return True


def _secrets(given: Mapping[str, str]) -> set[str]:
    """Every secret of the settings, and what in a URL may be one."""
    found = {given.get(name, "") for name in KEY_VARIABLES}
    texts = {name: given.get(f"{PREFIX}{name.upper()}", "") for name in SECRET_SETTINGS}
    try:
        urls = json.loads(texts.pop("notify_urls") or "[]")
    except ValueError:
        urls = []
    for url in urls if isinstance(urls, list) else []:
        found |= parts_of_url(str(url))
    database = texts.pop("database_url")
    if "@" in database and "://" in database:
        password = database.split("://", 1)[1].rsplit("@", 1)[0].partition(":")[2]
        found |= {database, password, unquote(password)}
    for name in _ENDPOINT_SECRETS:
        values = {pair.partition("=")[2].strip() for pair in given.get(name, "").split(",")}
        found |= values | {unquote(value) for value in values}
    for text in texts.values():
        found |= {text, *text.split(",")}
    return found


def _fit(value: object) -> Any:
    """A value as JSON has it, without secrets: money as text, what JSON has no word for as text."""
    if value is None or isinstance(value, bool | int):
        return value
    try:
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, Decimal) and value.is_finite():
            return f"{value:f}"
        if isinstance(value, dict):
            return {hidden(str(name)): _fit(one) for name, one in value.items()}
        return hidden(str(value))
    except Exception:  # noqa: BLE001 (what a foreign object raises when it is shown)
        return f"<{type(value).__name__} that cannot be shown>"
