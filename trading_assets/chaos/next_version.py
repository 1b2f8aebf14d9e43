"""The next version of the program: a copy of this one with a revision of the ledger that adds a table and a column.

With it a release is tried: two versions at work on one ledger.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import trading_assets
from trading_assets.core.errors import ExchangeUnavailableError
from trading_assets.ledger import migrations

REVISION = "9001"
SAYS = "this is the next version"
"""What its session says when it ends."""

_MIGRATION = """from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    op.create_table("next_version", sa.Column("name", sa.Text, primary_key=True))
    op.add_column("order_intents", sa.Column("next_version", sa.Text))


def downgrade() -> None:
    op.drop_column("order_intents", "next_version")
    op.drop_table("next_version")
"""


def make_next_version(folder: Path) -> dict[str, str]:
    """Write it into a folder. Return the variables with which Python runs it."""
    package = Path(trading_assets.__file__).parent
    copy = folder / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    head = copy / "ledger" / "migrations" / "__init__.py"
    (head.parent / "versions" / f"r{REVISION}_next.py").write_text(
        _MIGRATION.format(revision=REVISION, before=migrations.HEAD)
    )
    _replace(head, f'HEAD = "{migrations.HEAD}"', f'HEAD = "{REVISION}"')
    _replace(copy / "chaos" / "session_process.py", 'say(f"ended', f'say("{SAYS}")\n            say(f"ended')
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


def run_command(environment: Mapping[str, str], *arguments: str) -> str:
    """Run a command of `trading-assets`, and return what it prints.

    Raises:
        ExchangeUnavailableError: it fails.
    """
    command = [sys.executable, "-m", "trading_assets.cli.main", *arguments]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise ExchangeUnavailableError(f"trading-assets {' '.join(arguments)} failed: {done.stdout}{done.stderr}")
    return done.stdout


def _replace(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    if text.count(before) != 1:
        raise ExchangeUnavailableError(f"{file.name} has {before!r} {text.count(before)} times, expected once")
    file.write_text(text.replace(before, after))
