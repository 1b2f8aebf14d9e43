"""Text from outside is data: whatever a venue, a person or the ledger says, commands and logs show it on its line."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from trading_assets.cli.console import echo, frame_table, line, open_console
from trading_assets.cli.main import main
from trading_assets.core.foreign_text import get_logger, plain, plain_lines
from trading_assets.ledger.database import Database
from trading_assets.trading.execute import flatten as closing
from trading_assets.trading.session.log import SessionLog, SessionMessage
from trading_assets_tests.wild_account.proxy import ACCOUNT, WALLET
from trading_assets_tests.wild_account.scene import Console, Scene, open_scene

FORGED = "FORGED 2026-03-02 INFO all is well"
PIECES = [
    "[/red]",
    "[bold]",
    "[/]",
    "[link=x",
    "[",
    "]",
    "\\",
    "\\[/]",
    ":smiley:",
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    f"\n{FORGED}",
    f"\r{FORGED}",
    f"\x0b{FORGED}",
    f"\x85{FORGED}",
    f"\u2028{FORGED}",
    "\u202e",
    "\x00",
    "\ud800",
    "{}",
    "%s",
    "|",
    "`",
    "é",
    "漢",
]
HOSTILE = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), min_size=1, max_size=8).map("".join)


def _require_clean(shown: str) -> None:
    """No character that a terminal obeys, and no line that foreign text has begun."""
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown) is None
    assert not any(one.startswith(FORGED[:6]) for one in shown.splitlines())


@given(HOSTILE)
def test_plain_text_is_one_printable_line_and_stays_as_it_is(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable() and plain(shown) == shown
    assert "".join(one for one in text if one.isprintable()) == text or shown != text


@given(HOSTILE)
def test_readable_text_is_shown_as_it_is(text: str) -> None:
    readable = "".join(one for one in text if one.isprintable())
    assert plain(readable) == readable and plain_lines(f"{readable}\n{readable}") == f"{readable}\n{readable}"


@pytest.mark.slow
@given(HOSTILE)
def test_every_way_to_print_shows_it(text: str) -> None:
    console = open_console()
    console.file = io.StringIO()
    console.print(line("before ", (text, "bold"), text))
    console.print(
        frame_table("rows", pd.DataFrame({"a": pd.Series([text], dtype=object), "b": [1.0]}), {"a": "a", "b": "b"})
    )
    console.print(text.replace("\n", " "))
    shown = console.file.getvalue()
    _require_clean(shown)
    with pytest.MonkeyPatch.context() as patched:
        out = io.StringIO()
        patched.setattr("sys.stdout", out)
        echo(text)
    _require_clean(out.getvalue())
    assert out.getvalue().count("\n") == 1


@pytest.mark.slow
@given(HOSTILE)
def test_a_log_line_is_one_line_and_a_traceback_is_marked(text: str) -> None:
    logger, out = get_logger("trading_assets.tests.foreign"), io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        logger.warning("%s: %s", text, text)
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("it failed")
    finally:
        logger.removeHandler(handler)
    _require_clean(out.getvalue())
    lines = out.getvalue().rstrip("\n").split("\n")
    assert [one for one in lines if not one.startswith("  | ")] == [lines[0], "ERROR it failed"]


@given(HOSTILE)
def test_a_session_tells_one_line(text: str) -> None:
    told: list[object] = []
    SessionLog(told.append).say(text)
    (message,) = told
    assert isinstance(message, SessionMessage) and message.text.isprintable()


@pytest.fixture
def stage(sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scene, Console]]:
    """An account with a position, and the command line on it."""
    with ExitStack() as stack:
        scene = open_scene(stack, sqlite)
        scene.enter("ETHUSDT")
        yield scene, Console(scene, monkeypatch, tmp_path)


def _storable(text: str) -> str:
    """As a ledger could hold it: SQLite takes no lone surrogate, and no text with a NUL."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


COMMANDS: dict[str, Callable[[str], tuple[str, ...]]] = {
    "status": lambda _: ("status",),
    "portfolio": lambda _: ("portfolio",),
    "doctor": lambda _: ("doctor",),
    "accounts prepare": lambda _: ("accounts", "prepare", "--yes"),
    "explain": lambda text: ("explain", f"x{text}"),
    "explain ours": lambda _: ("explain", "ta-e-"),
    "strategies list": lambda _: ("strategies", "list"),
    "strategies stop": lambda text: ("strategies", "stop", f"x{text}"),
    "check strategy": lambda text: ("check", "strategy", f"x{text}"),
    "settings": lambda _: ("settings",),
    "halt": lambda text: ("halt", "--", f"x{text}"),
    "reduce": lambda text: ("reduce", "--", f"x{text}"),
    "resume": lambda text: ("resume", "--", f"x{text}"),
    "flatten": lambda text: ("flatten", "--yes", "--", f"x{text}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_no_hostile_text_breaks_a_command_or_reaches_the_terminal(
    stage: tuple[Scene, Console], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "PAUSE_S", 0.001)
    scene, console = stage

    @examples(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(HOSTILE, HOSTILE)
    def hostile(text: str, other: str) -> None:
        held = _storable(text)
        scene.execute("UPDATE positions SET symbol = :t", t=f"X{held}"[:60])
        scene.execute("UPDATE entry_signals SET reason = :t, strategy = :t", t=held)
        scene.execute("UPDATE order_intents SET reason = :t", t=held)
        scene.execute(
            "INSERT INTO risk_states (account, state, cause, reason, actor, time_ms) "
            "VALUES ('main', 'ACTIVE', 'command', :t, :t, 1)",
            t=held,
        )
        for path in (WALLET, ACCOUNT, "/v5/user/query-api"):
            scene.proxy.refuse(path, 10001, _storable(other))
        result = console.run(*COMMANDS[command](_storable(text)))
        _require_clean(result.output)
        scene.proxy.clear()

    hostile()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["explain", "check strategy", "strategies stop"])
def test_an_error_is_told_on_one_line(
    stage: tuple[Scene, Console], command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the entry point, as a user sees it."""
    hostile = f"[/red]\x1b[2J\n{FORGED}\r{FORGED}"
    monkeypatch.setattr("sys.argv", ["trading-assets", *COMMANDS[command](hostile)])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().err
    announced = int(command == "strategies stop")  # what acts says first on what
    assert ended.value.code == 2 and "[/red]" in shown.splitlines()[-1] and shown.count("\n") == 1 + announced
    _require_clean(shown)
