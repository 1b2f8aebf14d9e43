"""Files that the UI's own server hands out."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.types import Message

from trading_assets.defs.instance.downloads import offer

RUN = "2f9a3c1e-0000-4000-8000-000000000001"
UI = "http://127.0.0.1:3000"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dagster")


@pytest.fixture(scope="module")
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """Of all tests here: its databases cost seconds."""
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as opened:
        yield opened


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "walk_forward_20260302T0100_20260302T0400.html"
    path.write_text("<!DOCTYPE html>a report")
    return path


def get(instance: dg.DagsterInstance, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the webserver's answer."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.sleep(60)  # the client stays
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
        asyncio.run(create_app_from_workspace_process_context(context)(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message["body"] for message in sent[1:])


@pytest.mark.slow
def test_the_ui_hands_out_the_very_file(instance: dg.DagsterInstance, page: Path) -> None:
    link = offer(instance, RUN, page, UI)
    assert link == f"/logs/{RUN}/{page.stem}/html"
    content = page.read_bytes()
    page.unlink()  # an old page that was replaced by newer ones
    status, headers, body = get(instance, link)
    assert (status, body) == (200, content)
    assert f"{page.stem}.html" in headers["content-disposition"]


def test_a_file_goes_with_the_logs_of_its_run(instance: dg.DagsterInstance, page: Path, home: Path) -> None:
    offer(instance, RUN, page, UI)
    offer(instance, RUN, page, UI)  # again, after a retry
    assert len(list(home.rglob("*.html"))) == 1
    instance.compute_log_manager.delete_logs(prefix=[RUN])
    assert list(home.rglob("*.html")) == [] and page.exists()


def test_below_a_path_of_a_proxy_the_link_begins_with_it(instance: dg.DagsterInstance, page: Path) -> None:
    link = offer(instance, RUN, page, "https://desk.example/dagster/")
    assert link == f"/dagster/logs/{RUN}/{page.stem}/html"


def test_without_a_directory_of_logs_there_is_no_link(page: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert offer(instance, RUN, page, UI) is None
