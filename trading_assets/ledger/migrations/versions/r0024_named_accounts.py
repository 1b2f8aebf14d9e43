"""Several accounts with keys of their own, and settings and flags that change while the system runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trading_assets.ledger.migrations.append_only import allow_changes, forbid_changes

revision = "0024"
down_revision = "0023"

_HISTORIES = ("live_changes", "research_settings")
_STAGES = (
    "market_scan",
    "candle_coverage",
    "funding_coverage",
    "backtest_results",
    "strategy_selections",
    "entry_signals",
)


def upgrade() -> None:
    op.create_table(
        "named_accounts",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("venue", sa.String(16), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("key_source", sa.Text, nullable=False),
        sa.Column("key_hint", sa.Text, nullable=False),
        sa.Column("sealed", sa.Text),
        sa.Column("sealed_by", sa.String(16)),
        sa.Column("added_wall_ms", sa.BigInteger, nullable=False),
        sa.Column("removed_wall_ms", sa.BigInteger),
    )
    op.create_table(
        "live_changes",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("time_wall_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_live_changes_name", "live_changes", ["kind", "account", "name", "version"])
    op.create_table(
        "research_settings",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("digest", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
    )
    for table in _STAGES:
        op.add_column(table, sa.Column("settings_version", sa.Double))
    forbid_changes(*_HISTORIES)


def downgrade() -> None:
    allow_changes(*_HISTORIES)
    for table in _STAGES:
        op.drop_column(table, "settings_version")
    op.drop_table("research_settings")
    op.drop_index("ix_live_changes_name", "live_changes")
    op.drop_table("live_changes")
    op.drop_table("named_accounts")
