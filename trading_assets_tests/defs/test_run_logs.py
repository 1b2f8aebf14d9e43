"""The log of a run as JSON lines: what a step says, without Dagster's prefix, and how it failed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from trading_assets.core import logs
from trading_assets.defs.instance.dagster_private import loggers_of_runs
from trading_assets.defs.instance.run_logs import service_of, start_log


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The log of this process, which writes as Dagster's processes do."""
    monkeypatch.setenv(logs.FORMAT_VARIABLE, "json")
    monkeypatch.setenv(logs.LEVEL_VARIABLE, "INFO")
    monkeypatch.setattr(loggers_of_runs, "create_console_logger", loggers_of_runs.create_console_logger)
    file, kept = tmp_path / "stderr", os.dup(2)
    with file.open("w") as out:
        os.dup2(out.fileno(), 2)
        start_log()
        os.dup2(kept, 2)
    os.close(kept)
    yield file
    logs.stop()


def test_a_step_tells_lines_with_run_job_and_step_and_its_failure_with_the_traceback(file: Path) -> None:
    @dg.op
    def talks(context: dg.OpExecutionContext) -> None:
        context.log.info("first\nsecond")
        raise ValueError("it broke")

    @dg.job(tags={"trading_assets/account": "second"})
    def a_job() -> None:
        talks()

    with dg.DagsterInstance.ephemeral() as instance:
        result = a_job.execute_in_process(instance=instance, raise_on_error=False)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    said = next(line for line in lines if line["message"].startswith("first"))
    assert said["message"] == "first\nsecond", "no prefix, and one line of the file"
    assert (said["run_id"], said["job"], said["step"]) == (result.run_id, "a_job", "talks")
    assert (said["account"], said["level"]) == ("second", "INFO")
    failed = next(line for line in lines if line.get("event") == "step_failure")
    assert failed["level"] == "ERROR" and "ValueError: it broke" in failed["exception"]
    assert "step_start" not in {line.get("event") for line in lines}, "below the level"


@pytest.mark.parametrize(
    ("arguments", "service"),
    [
        (["/x/bin/dagster-daemon", "run"], "dagster-daemon"),
        (["/x/dagster/_daemon/__main__.py", "run"], "dagster-daemon"),
        (["/x/dagster_webserver/__main__.py"], "dagster-webserver"),
        (["/x/bin/celery", "-A", "app"], "worker"),
        (["/x/dagster/__main__.py", "api", "grpc"], "dagster"),
        ([], "dagster"),
    ],
)
def test_a_process_is_named_by_its_command(arguments: list[str], service: str) -> None:
    assert service_of(arguments) == service
