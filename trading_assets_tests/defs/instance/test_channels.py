"""Dagster's processes keep a connection to a code server: one, until a call over it fails."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import grpc
import pytest
from dagster._cli import proxy_server_manager
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc import client as clients
from dagster._grpc.__generated__ import dagster_api_pb2
from dagster._grpc.__generated__.dagster_api_pb2_grpc import (
    DagsterApiServicer,
    add_DagsterApiServicer_to_server,
)
from dagster._grpc.constants import GrpcServerCommand

from trading_assets.defs.instance.asking import CHANNELS_KEPT, WITHOUT_PROXY_VARIABLE, Channels, ask_less_often

WAITS_S = 30.0


class Server(DagsterApiServicer):
    """Answers with its name, and counts who is connected."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.peers: set[str] = set()
        self.waits: threading.Event | None = None
        self.asked = threading.Semaphore(0)

    def GetServerId(self, request: object, context: grpc.ServicerContext) -> dagster_api_pb2.GetServerIdReply:
        self.peers.add(context.peer())
        self.asked.release()
        if self.waits is not None:
            self.waits.wait(WAITS_S)
        return dagster_api_pb2.GetServerIdReply(server_id=self.name)

    def Heartbeat(self, request: object, context: grpc.ServicerContext) -> dagster_api_pb2.PingReply:
        context.abort(grpc.StatusCode.INTERNAL, "refused")


@contextmanager
def listening(server: Server, port: int = 0) -> Iterator[int]:
    found = grpc.server(ThreadPoolExecutor(4))
    add_DagsterApiServicer_to_server(server, found)
    at = found.add_insecure_port(f"127.0.0.1:{port}")
    found.start()
    try:
        yield at
    finally:
        found.stop(None).wait()


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], clients.DagsterGrpcClient]:
    monkeypatch.setattr(clients.DagsterGrpcClient, "_channel", clients.DagsterGrpcClient._channel)
    monkeypatch.setattr(clients, "CLIENT_HEARTBEAT_INTERVAL", 1)
    monkeypatch.setitem(sys.modules, "dagster._daemon.cli", ModuleType("dagster._daemon.cli"))
    ask_less_often()
    return lambda port: clients.DagsterGrpcClient(port=port, host="127.0.0.1")


Ask = Callable[[int], clients.DagsterGrpcClient]


def test_clients_of_one_server_share_a_connection_whatever_thread_asks(ask: Ask) -> None:
    server = Server("one")
    with listening(server) as port, ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: ask(port).get_server_id(), range(20))) == {"one"}
    assert len(server.peers) == 1


def test_a_server_that_was_started_again_is_asked_at_its_old_address(ask: Ask) -> None:
    with listening(Server("one")) as port:
        assert ask(port).get_server_id() == "one"
    with pytest.raises(DagsterUserCodeUnreachableError):
        ask(port).get_server_id(timeout=2)
    with listening(Server("two"), port):
        assert ask(port).get_server_id() == "two", "at once: a connection that failed is not waited for"


def test_a_call_that_fails_ends_no_call_that_another_thread_waits_for(ask: Ask) -> None:
    server = Server("one")
    with listening(server) as port, ThreadPoolExecutor(1) as threads:
        ask(port).get_server_id()
        assert server.asked.acquire(timeout=WAITS_S)
        server.waits = threading.Event()
        waiting = threads.submit(ask(port).get_server_id)
        assert server.asked.acquire(timeout=WAITS_S), "it is on its way before another call fails"
        with pytest.raises(DagsterUserCodeUnreachableError):
            ask(port).heartbeat()
        server.waits.set()
        assert waiting.result(WAITS_S) == "one"
        assert ask(port).get_server_id() == "one"
    assert len(server.peers) == 2


def test_no_more_channels_are_kept_than_a_workspace_has_servers() -> None:
    opened, closed = list[int](), list[int]()

    @contextmanager
    def opens(client: clients.DagsterGrpcClient) -> Iterator[int]:
        opened.append(client.port or 0)
        yield client.port or 0
        closed.append(client.port or 0)

    channels = Channels(opens)
    for port in (1, 2, 3, 4, 1, 5):
        with channels.use(clients.DagsterGrpcClient(port=port, host="localhost")) as channel:
            assert channel == port
    assert CHANNELS_KEPT == 4
    assert (opened, closed) == ([1, 2, 3, 4, 5], [1])


@pytest.mark.parametrize("is_set", [False, True])
def test_dagster_dev_goes_without_the_process_before_its_code_server_where_it_is_told_so(
    is_set: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_server_manager, "GrpcServerCommand", GrpcServerCommand)
    monkeypatch.setenv(WITHOUT_PROXY_VARIABLE, "1" if is_set else "")
    ask_less_often()
    expected = GrpcServerCommand.API_GRPC if is_set else GrpcServerCommand.CODE_SERVER_START
    assert proxy_server_manager.GrpcServerCommand.CODE_SERVER_START is expected


def test_make_dev_tells_it_so() -> None:
    makefile = (Path(__file__).parents[3] / "Makefile").read_text()
    assert f"{WITHOUT_PROXY_VARIABLE}=1 $(BIN)/dagster dev" in makefile
