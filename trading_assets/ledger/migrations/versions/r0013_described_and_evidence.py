"""How far a strategy's parameters are varied stands on its row; what a signal was decided on is kept beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trading_assets.ledger.migrations.append_only import allow_changes, forbid_changes

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("strategies", sa.Column("grid", sa.Text))
    op.create_table(
        "signal_evidence",
        sa.Column("signal_id", sa.String(200), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    forbid_changes("signal_evidence")


def downgrade() -> None:
    allow_changes("signal_evidence")
    op.drop_table("signal_evidence")
    op.drop_column("strategies", "grid")
