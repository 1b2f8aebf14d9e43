"""One id for all that is done about a signal, and spans of it for OpenTelemetry. Without the extra `[otel]`, or without
`OTEL_EXPORTER_OTLP_ENDPOINT`, a span is nothing.

Who exports, and when, is decided here; what a span is around is decided where it is. Attributes are names and figures
of the order: never a header, a body or a text of others.
"""

from __future__ import annotations

import atexit
import contextvars
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trading_assets.core.foreign_text import get_logger
from trading_assets.core.secret_text import hidden

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_log = get_logger(__name__)

EXPORT_TIMEOUT_S = 1.0
"""Longest wait of the exporting thread for the collector, and of a process for that thread when it ends."""

QUEUE_LENGTH = 2048
"""Spans that wait for the collector; what comes on top is dropped."""

_tracer: Tracer | None = None
_provider: TracerProvider | None = None
_wanted_ids: contextvars.ContextVar[tuple[int, int] | None] = contextvars.ContextVar("wanted_ids", default=None)


def trace_id_of(signal_id: str) -> str:
    """The trace id of a signal and of everything that follows from it: 32 hex digits, a function of its id alone.

    An order link id is made of the signal's id, too. So the id is known before there is an order, in every process, and
    after a crash.
    """
    return hashlib.sha256(signal_id.encode(errors="surrogatepass")).hexdigest()[:32]


def is_on() -> bool:
    """Whether spans are exported by this process."""
    return _tracer is not None


def start(service: str, environment: Mapping[str, str] | None = None) -> bool:
    """Export spans from now on, where the environment names a collector. Return whether that is so.

    Without the extra it warns: what a person commands is done all the same.
    """
    global _tracer, _provider  # noqa: PLW0603 (one exporter for the process)
    given = os.environ if environment is None else environment
    if not any(given.get(name) for name in ENDPOINT_VARIABLES) or given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if _provider is not None:
        return True
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 (0.2 s)
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator  # noqa: PLC0415
    except ImportError:
        _log.warning(
            "%s is set, but OpenTelemetry is not installed, so no trace is sent: pip install 'trading-assets[otel]', "
            "or unset the variable",
            ENDPOINT_VARIABLES[0],
        )
        return False

    class Ids(IdGenerator):
        """Random ids, except where a root has its own."""

        def __init__(self) -> None:
            self._random = RandomIdGenerator()

        def generate_trace_id(self) -> int:
            wanted = _wanted_ids.get()
            return wanted[0] if wanted is not None else self._random.generate_trace_id()

        def generate_span_id(self) -> int:
            wanted = _wanted_ids.get()
            return wanted[1] if wanted is not None else self._random.generate_span_id()

    resource = Resource.create({"service.name": "trading-assets", "service.instance.id": f"{service}-{os.getpid()}"})
    _provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(timeout=EXPORT_TIMEOUT_S)
    _provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_LENGTH, schedule_delay_millis=1000))
    _tracer = _provider.get_tracer("trading_assets")
    atexit.register(stop)
    return True


def stop(within_s: float = EXPORT_TIMEOUT_S) -> None:
    """Send what waits and export no more. A collector that does not answer is not waited for longer than `within_s`."""
    global _tracer, _provider
    provider, _provider, _tracer = _provider, None, None
    if provider is None:
        return
    atexit.unregister(stop)
    sending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
    sending.start()
    sending.join(within_s)


@contextmanager
def span(name: str, *, signal_id: str = "", **attributes: object) -> Iterator[None]:
    """A span around the block: of a signal's trace, else of that of the span around it, else of a trace of its own.

    It never raises, and waits for nothing. What the block raises ends the span with the error's type.
    """
    tracer = _tracer
    if tracer is None:
        yield
        return
    from opentelemetry import trace as otel  # noqa: PLC0415 (the extra)

    context = None
    if signal_id and otel.get_current_span().get_span_context().trace_id != _ids(signal_id)[0]:
        context = _remote_root(signal_id)
    with tracer.start_as_current_span(
        name,
        context=context,
        attributes=_fit({"signal_id": signal_id, **attributes}),
        record_exception=False,
        set_status_on_exception=False,
    ) as one:
        try:
            yield
        except BaseException as error:
            one.set_status(otel.Status(otel.StatusCode.ERROR, type(error).__name__))
            raise


def ended_span(
    name: str, attributes: Mapping[str, object], *, signal_id: str, lasted_s: float, is_root: bool = False
) -> None:
    """A span of a signal's trace that ends now and began `lasted_s` ago.

    Args:
        is_root: the one span under which all others of the trace are.
    """
    tracer = _tracer
    if tracer is None:
        return
    from opentelemetry.context import Context  # noqa: PLC0415 (the extra)

    now_ns = time.time_ns()
    ids = _wanted_ids.set(_ids(signal_id) if is_root else None)
    try:
        one = tracer.start_span(
            name,
            context=Context() if is_root else _remote_root(signal_id),
            attributes=_fit({"signal_id": signal_id, **attributes}),
            start_time=now_ns - max(int(lasted_s * 1e9), 0),
        )
    finally:
        _wanted_ids.reset(ids)
    one.end(now_ns)


def _ids(signal_id: str) -> tuple[int, int]:
    """Ids of a signal's trace and of its root span: the first 32 and the next 16 digits of the digest."""
    digits = hashlib.sha256(signal_id.encode(errors="surrogatepass")).hexdigest()
    return int(digits[:32], 16), int(digits[32:48], 16)


def _remote_root(signal_id: str) -> Any:
    """A context whose span is the signal's root, which some process tells of when the order has its end."""
    from opentelemetry import trace as otel  # noqa: PLC0415 (the extra)

    trace_id, span_id = _ids(signal_id)
    parent = otel.SpanContext(trace_id, span_id, is_remote=True, trace_flags=otel.TraceFlags(otel.TraceFlags.SAMPLED))
    return otel.set_span_in_context(otel.NonRecordingSpan(parent))


def _fit(attributes: Mapping[str, object]) -> dict[str, str | int]:
    return {
        name: value if isinstance(value, int) else hidden(str(value))
        for name, value in attributes.items()
        if value not in (None, "")
    }
