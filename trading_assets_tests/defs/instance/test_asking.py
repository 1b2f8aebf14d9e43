"""Dagster's processes ask each other less often than stock's, and often enough to live."""

import pytest
from dagster._daemon.controller import DAEMON_GRPC_SERVER_HEARTBEAT_TTL
from dagster._grpc import client, server_watcher

from trading_assets.defs.instance.asking import HEARTBEAT_EVERY_S, WATCH_EVERY_S, ask_less_often


def test_both_intervals_are_longer_and_a_server_hears_three_heartbeats_before_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "CLIENT_HEARTBEAT_INTERVAL", 1)
    monkeypatch.setattr(server_watcher, "WATCH_INTERVAL", 1)
    ask_less_often()
    assert (client.CLIENT_HEARTBEAT_INTERVAL, server_watcher.WATCH_INTERVAL) == (HEARTBEAT_EVERY_S, WATCH_EVERY_S)
    assert 3 * HEARTBEAT_EVERY_S < DAEMON_GRPC_SERVER_HEARTBEAT_TTL


def test_a_version_without_these_names_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(server_watcher, "WATCH_INTERVAL")
    ask_less_often()
    assert not hasattr(server_watcher, "WATCH_INTERVAL")
