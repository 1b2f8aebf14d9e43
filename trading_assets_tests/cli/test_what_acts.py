"""Each command that acts says first on which venue, account and home; each other one is named as one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from trading_assets.cli import opening
from trading_assets.cli.main import cli
from trading_assets.core.settings import load_settings

ACTS: dict[str, tuple[str, ...]] = {
    "accounts add": ("second", "--venue", "paper"),
    "accounts encryption rotate": (),
    "accounts fees": (),
    "accounts prepare": (),
    "accounts remove": ("main",),
    "accounts rotate": ("main", "--keys", "env:A,B"),
    "accounts test": ("main",),
    "backfill": ("--days", "1"),
    "backup": ("backup.zip",),
    "candles refetch": (),
    "close": ("BTCUSDT", "--yes"),
    "config set": ("max_positions", "3"),
    "confirm flatten": (),
    "confirm resume": (),
    "confirm settings": (),
    "dashboard": ("--port", "0"),
    "dca adjust": ("BTCUSDT", "--amount", "20", "--yes"),
    "dca maintain": (),
    "dca pause": ("BTCUSDT",),
    "dca resume": ("BTCUSDT",),
    "dca start": ("BTCUSDT", "--schedule", "every 1d", "--amount", "10", "--stop-pct", "5", "--max", "50"),
    "dca stop": ("BTCUSDT",),
    "exchange advance": ("1",),
    "exchange stop": (),
    "flags set": ("entries", "off"),
    "flatten": ("--yes",),
    "grid adjust": ("BTCUSDT", "--stop-low", "1"),
    "grid maintain": (),
    "grid pause": ("BTCUSDT",),
    "grid recentre": ("BTCUSDT",),
    "grid resume": ("BTCUSDT",),
    "grid start": ("BTCUSDT", "--low", "1", "--high", "2", "--capital", "10", "--stop-beyond", "5"),
    "grid stop": ("BTCUSDT",),
    "halt": (),
    "history import": (".",),
    "history use": (),
    "intents resolve": ("x", "closed", "by hand"),
    "ledger adopt-home": ("--yes",),
    "ledger bind": ("--venue", "simulator", "--yes"),
    "ledger downgrade": ("0033", "--yes"),
    "ledger upgrade": (),
    "mirror create": (),
    "mirror off": (),
    "mirror resync": (),
    "mirror verify": (),
    "notify deliver": (),
    "notify resend": ("1",),
    "notify test": (),
    "reduce": (),
    "rehearse": ("--yes",),
    "restore": ("backup.zip",),
    "results seal": (),
    "resume": (),
    "serve": ("--with", "dashboard"),
    "strategies remove": ("hyperrsi",),
    "strategies set": ("hyperrsi",),
    "strategies start": ("hyperrsi",),
    "strategies stop": ("hyperrsi",),
    "trading off": (),
    "trading on": (),
}
"""What changes an account, its books, its settings, messages or data; with arguments that come so far."""

LOOKS = {
    "accounts list",
    "accounts show",
    "alarms",
    "backtest",
    "chart",
    "check strategy",
    "config get",
    "config history",
    "dca backtest",
    "dca list",
    "dca status",
    "doctor",
    "equity",
    "exchange status",
    "explain",
    "flags get",
    "flags history",
    "grid backtest",
    "grid levels",
    "grid selections",
    "grid status",
    "history instruments",
    "history export",
    "history status",
    "intents list",
    "ledger revision",
    "logs",
    "metrics show",
    "mirror status",
    "notify list",
    "portfolio",
    "results files",
    "results status",
    "report compare",
    "report performance",
    "report score",
    "report strategy",
    "report walk-forward",
    "settings",
    "signals",
    "status",
    "strategies list",
    "strategies show",
    "trades",
    "trading state",
}
"""What only shows, or writes a picture or a page."""

ELSEWHERE = {"accounts encryption new", "demo", "exchange serve", "reference", "strategies new", "web"}
"""What has a place of its own that it names, or only serves; so have all of `bench` and `chaos`."""


class Announced(Exception):
    """The command has said what it acts on."""


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield " ".join(path)
        return
    for name, child in command.commands.items():
        yield from leaves(child, (*path, name))


def test_every_command_is_one_that_acts_or_one_that_does_not() -> None:
    found = {name for name in leaves(cli) if name.split()[0] not in ("bench", "chaos")}
    assert found == ACTS.keys() | LOOKS | ELSEWHERE
    assert len(ACTS.keys() & LOOKS) == 0


@pytest.mark.slow
def test_a_command_that_acts_says_first_on_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(text: str, **_: object) -> None:
        raise Announced(text)

    monkeypatch.setattr(opening, "echo", said)
    monkeypatch.setenv("TRADING_ASSETS_DASHBOARD_PORT", "0")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backup.zip").write_bytes(b"")
    silent = {}
    for name, arguments in ACTS.items():
        result = CliRunner().invoke(cli, [*name.split(), *arguments])
        if not isinstance(result.exception, Announced) or result.output:
            silent[name] = (result.output, result.exception)
        elif str(load_settings().home) not in str(result.exception):
            silent[name] = ("no home", result.exception)
    assert silent == {}
