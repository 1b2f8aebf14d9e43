"""Spans: sent as OTLP by the real exporter, and of no weight where the collector is dead, hangs or is not named."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_assets.core import secret_text, trace
from trading_assets_tests.otlp import collecting

SCRIPT = """
import sys, time
from trading_assets.core import logs, trace
logs.start("test")
assert trace.is_on()
began, slowest = time.thread_time(), 0.0
for number in range(int(sys.argv[1])):
    before = time.monotonic()
    with trace.span("order.create", signal_id=f"s{number}"):
        pass
    slowest = max(slowest, time.monotonic() - before)
print(slowest, (time.thread_time() - began) / int(sys.argv[1]), time.monotonic())
"""


@pytest.fixture(autouse=True)
def _ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(secret_text, "_known", set())
    yield
    trace.stop()


def test_an_id_is_a_function_of_the_signal_alone() -> None:
    assert trace.trace_id_of("main:BTCUSDT:1m:x:1") == trace.trace_id_of("main:BTCUSDT:1m:x:1")
    assert trace.trace_id_of("main:BTCUSDT:1m:x:2") != trace.trace_id_of("main:BTCUSDT:1m:x:1")
    # SHA-256 of the empty text, as FIPS 180-4 tests have it.
    assert trace.trace_id_of("") == "e3b0c44298fc1c149afbf4c8996fb924"
    assert len(trace.trace_id_of("\ud800")) == 32


def test_nothing_is_sent_where_no_collector_is_named() -> None:
    assert not trace.start("test", {}) and not trace.is_on()
    assert not trace.start("test", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"})
    with trace.span("order.create", signal_id="s"):
        trace.ended_span("trade", {}, signal_id="s", lasted_s=1)
    trace.stop()


def test_without_the_package_it_warns_and_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert not trace.start("test", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    assert "trading-assets[otel]" in caplog.text
    with trace.span("order.create", signal_id="s"):
        pass


def test_spans_of_several_threads_are_one_trace_and_errors_are_told_by_their_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        with pytest.raises(ValueError, match="hidden"), trace.span("order.create", signal_id="s", symbol="BTCUSDT"):
            raise ValueError("hidden text")

    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        secret_text.know("hidden-key-1")
        assert trace.start("test")
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        with trace.span("order.record", signal_id="s"), trace.span("inner", reason="hidden-key-1"):
            pass
        trace.ended_span("trade", {"qty": "1"}, signal_id="s", lasted_s=2.0, is_root=True)
        with trace.span("research.market_scan", hours=2):
            pass
        trace.stop()
    spans = collector.of(trace.trace_id_of("s"))
    assert set(spans) == {"order.create", "order.record", "inner", "trade"}
    root = spans["trade"]
    assert spans["order.create"].parent_span_id == spans["order.record"].parent_span_id == root.span_id
    assert spans["inner"].parent_span_id == spans["order.record"].span_id and not root.parent_span_id
    assert root.end_time_unix_nano - root.start_time_unix_nano == 2_000_000_000
    assert (spans["order.create"].status.code, spans["order.create"].status.message) == (2, "ValueError")
    assert not spans["order.create"].events
    (stage,) = [span for span in collector.spans if span.name == "research.market_scan"]
    assert stage.trace_id != root.trace_id and not stage.parent_span_id
    assert not any(b"hidden" in body for body in collector.bodies)


def run(script: Path, spans: int, endpoint: str) -> tuple[float, float, float]:
    """The slowest span, the CPU time of a span, both s, and how long the process took to end after the last, s."""
    script.write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, script, str(spans)],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    slowest, cpu, at = map(float, ended.stdout.split())
    return slowest, cpu, time.monotonic() - at


@pytest.mark.slow
@pytest.mark.parametrize("collector", ["dead", "hanging"])
def test_a_collector_that_does_not_answer_delays_no_span_and_the_end_by_a_second(
    tmp_path: Path, collector: str
) -> None:
    with collecting(hangs=True) as hanging:
        endpoint = "http://127.0.0.1:9" if collector == "dead" else hanging.url
        # More than the queue holds: what does not fit is dropped, and nobody waits for room.
        slowest, cpu, ended = run(tmp_path / "script.py", 2 * trace.QUEUE_LENGTH, endpoint)
    assert slowest < trace.EXPORT_TIMEOUT_S, "a request's timeout was waited for"
    assert cpu < 0.005
    assert ended < trace.EXPORT_TIMEOUT_S + 4.0, "the rest is the interpreter's own end on a busy machine"
