"""Pages and programs of an attacker against plain `dagster dev`: nothing is started, and nothing can be read."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from trading_assets.defs.instance.concurrency_groups import ACTOR_TAG
from trading_assets.defs.instance.web_guard import guards
from trading_assets_tests.ui.dev import Dev, dagster_dev
from trading_assets_tests.ui.pages import Pages, chromium, open_chromium

FLATTEN = """
mutation {
  launchRun(executionParams: {
    selector: {
      repositoryLocationName: "trading_assets", repositoryName: "__repository__", jobName: "flatten"
    },
    runConfigData: "{}", mode: "default"
  }) { __typename }
}
"""
ALL_RUNS = "{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with dagster_dev(tmp_path_factory.mktemp("home"), {"AUTOMATION": "off"}) as running:
        yield running


def runs(dev: Dev) -> list[str]:
    return [run["jobName"] for run in dev.graphql(ALL_RUNS)["runsOrError"]["results"]]


@pytest.mark.slow
def test_an_attackers_requests_start_nothing(dev: Dev) -> None:
    graphql, body = f"{dev.url}/graphql", json.dumps({"query": FLATTEN})
    in_url = f"{graphql}?query={quote(FLATTEN)}"
    answers = [
        requests.post(in_url, headers={"Content-Type": "text/plain", "Host": "attacker.example"}, timeout=30),
        requests.post(in_url, headers={"Content-Type": "text/plain"}, timeout=30),
        requests.get(in_url, headers={"Accept": "image/png,image/*", "Host": "attacker.example"}, timeout=30),
        requests.get(in_url, headers={"Accept": "image/png,image/*"}, timeout=30),
        requests.post(graphql, body, headers={"Content-Type": "text/plain; application/json"}, timeout=30),
        requests.post(
            graphql,
            body,
            headers={"Content-Type": "application/json", "Origin": "http://attacker.example"},
            timeout=30,
        ),
        requests.post(
            graphql, body, headers={"Content-Type": "application/json", "Host": "attacker.example"}, timeout=30
        ),
        requests.post(
            f"{dev.url}/report_asset_materialization/scanned_coins",
            headers={"Origin": "http://attacker.example"},
            timeout=30,
        ),
        requests.get(dev.url, headers={"Host": "attacker.example"}, timeout=30),
    ]
    assert [answer.status_code for answer in answers] == [421, 415, 421, 405, 415, 403, 421, 403, 421]
    assert runs(dev) == []
    assert guards(dev.url) is True


@pytest.mark.slow
def test_a_foreign_origin_opens_no_websocket(dev: Dev) -> None:
    url, at = f"ws{dev.url.removeprefix('http')}/graphql", urlsplit(dev.url).netloc
    for origin in ("http://attacker.example", "null", f"http://localhost:{urlsplit(dev.url).port}"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(url, origin=origin, subprotocols=["graphql-ws"])  # type: ignore[arg-type,list-item]
    with connect(url, origin=f"http://{at}", subprotocols=["graphql-ws"]) as ours:  # type: ignore[arg-type,list-item]
        ours.send(json.dumps({"type": "connection_init"}))
        assert json.loads(ours.recv(timeout=60))["type"] == "connection_ack"


@pytest.mark.slow
def test_a_run_tells_who_asked_and_flatten_without_a_code_fails(dev: Dev) -> None:
    forged = FLATTEN.replace(
        "runConfigData", f'executionMetadata: {{tags: [{{key: "{ACTOR_TAG}", value: "boss"}}]}}, runConfigData'
    )
    assert dev.graphql(forged)["launchRun"]["__typename"] == "LaunchRunSuccess"
    found: dict[str, Any] = {"status": ""}
    while found["status"] not in ("FAILURE", "SUCCESS"):
        time.sleep(0.5)
        (found,) = dev.graphql(ALL_RUNS)["runsOrError"]["results"]
    assert found["status"] == "FAILURE"
    tags = {tag["key"]: tag["value"] for tag in found["tags"]}
    assert tags[ACTOR_TAG].endswith("(UI, from 127.0.0.1)") and "boss" not in tags[ACTOR_TAG]
    log = dev.graphql(
        "query R($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection(limit: 500) { events "
        "{ ... on ExecutionStepFailureEvent { error { className message causes { message } } } } } } } }",
        id=found["runId"],
    )
    assert "trading-assets confirm flatten" in json.dumps(log)


PAGE = """<!DOCTYPE html><title>a page</title><body><img src="{url}?query={query}"><iframe src="{site}"></iframe>
<form method="post" enctype="text/plain" target="hidden" action="{url}?query={query}"></form>
<iframe name="hidden"></iframe>
<script>
const told = [];
const tell = (what) => {{ told.push(what); document.title = told.join(","); }};
const body = JSON.stringify({{query: decodeURIComponent("{query}")}});
const send = (type, how) => fetch("{url}", {{method: "POST", mode: how, credentials: "include", body,
  headers: type ? {{"Content-Type": type}} : {{}}}}).then(() => tell("sent")).catch(() => tell("blocked"));
document.forms[0].submit();
const socket = new WebSocket("{socket}", "graphql-ws");
socket.onopen = () => tell("socket-open");
socket.onerror = () => tell("socket-refused");
Promise.all([
  send("text/plain; application/json", "no-cors"), send("text/plain", "no-cors"), send("", "no-cors"),
  send("application/json", "cors"),
  fetch("{url}?query={query}", {{mode: "no-cors"}}).then(() => tell("sent")).catch(() => tell("blocked")),
]).then(() => tell("done"));
</script>"""


@contextmanager
def served(text: str) -> Iterator[int]:
    """The port at which a page is served."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_a_page_in_a_real_browser_starts_nothing_and_the_ui_works(dev: Dev, tmp_path: Path) -> None:
    paths = chromium()
    if paths is None:
        pytest.skip("no Chromium with its driver is found; on Debian: apt-get install chromium chromium-driver")
    before = runs(dev)
    url = f"{dev.url}/graphql"
    page = PAGE.format(url=url, query=quote(FLATTEN), site=dev.url, socket=f"ws{url.removeprefix('http')}")
    browser = open_chromium(paths, tmp_path / "profile")
    try:
        pages = Pages(browser, dev.url, None)
        # A person has the UI open, and then the other page.
        pages.open("/overview/activity")
        pages.see("Timeline")
        with served(page) as port:
            for name in ("localhost", "127.0.0.1"):
                browser.get(f"http://{name}:{port}/")
                told = pages.until(
                    lambda: t if "done" in (t := browser.title) and "socket" in t else None, "the end of the attack"
                )
                assert "socket-refused" in told and "socket-open" not in told
        assert runs(dev) == before
        pages.open("/locations/trading_assets/jobs/flatten/playground")
        pages.see("close_all_positions", "confirmation")
    finally:
        browser.quit()
