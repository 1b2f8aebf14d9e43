"""What an idle hour costs is added up by role, whatever begins or ends while it is measured."""

import pytest

from trading_assets.bench.idle import EXCHANGE, OTHERS, RUNS, SESSION, Part, Seen, parts_of, role_of


def parts(before: dict[int, Seen], after: dict[int, Seen], took_s: float = 360.0) -> dict[str, Part]:
    found = parts_of(*({(pid, 1.0): seen for pid, seen in look.items()} for look in (before, after)), took_s)
    return {part.role: part for part in found}


def test_seconds_of_six_minutes_are_ten_times_as_many_in_an_hour() -> None:
    before = {1: Seen("daemon", 5.0, 0.0, 100.0), 2: Seen(SESSION, 9.0, 0.0, 200.0), 3: Seen(EXCHANGE, 1.0, 0.0, 50.0)}
    after = {1: Seen("daemon", 8.0, 0.0, 110.0), 2: Seen(SESSION, 10.0, 0.0, 210.0), 3: Seen(EXCHANGE, 3.0, 0.0, 50.0)}
    found = parts(before, after)
    assert {role: part.cpu_s for role, part in found.items()} == {"daemon": 30, SESSION: 10, EXCHANGE: 20, RUNS: 0}
    assert found["daemon"] == Part("daemon", 1, 30.0, 110.0)


def test_a_run_that_begins_and_ends_meanwhile_is_known_by_its_parent() -> None:
    found = parts({1: Seen("code server", 5.0, 2.0, 100.0)}, {1: Seen("code server", 6.0, 5.5, 100.0)})
    assert (found["code server"].cpu_s, found[RUNS].cpu_s) == (10.0, 35.0)


def test_what_a_run_took_before_counts_for_nothing_and_one_that_still_runs_counts() -> None:
    before = {1: Seen("code server", 5.0, 0.0, 100.0), 7: Seen(OTHERS, 3.0, 0.0, 90.0)}
    after = {1: Seen("code server", 5.0, 4.0, 100.0), 8: Seen(OTHERS, 2.0, 0.0, 80.0)}
    found = parts(before, after)
    assert (found[RUNS].cpu_s, found[OTHERS].cpu_s) == (10.0, 20.0)
    assert found[OTHERS].memory_mb == 80.0


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("python -m dagster dev --port 3000 -m trading_assets.definitions", "dagster dev"),
        ("python -m dagster code-server start --socket /tmp/a -m trading_assets.definitions", "code server's proxy"),
        ("python -m dagster api grpc --lazy-load-user-code --socket /tmp/b", "code server"),
        ("python -m dagster_webserver --port 3000", "web server"),
        ("python -m dagster._daemon run --log-level info", "daemon"),
        ("python -m trading_assets.cli.main serve --dashboard", "serve"),
        ("python -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=1)", OTHERS),
    ],
)
def test_a_process_is_known_by_its_command(command: str, role: str) -> None:
    assert role_of(command.split()) == role
