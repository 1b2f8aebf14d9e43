"""What rehearsals of venues have found: the way to real money asks for one in which all was well."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trading_assets.ledger.migrations.append_only import allow_changes, forbid_changes

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.create_table(
        "rehearsals",
        sa.Column("rehearsal_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("venue", sa.String(16), nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(8), nullable=False),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("time_wall_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_rehearsals_account", "rehearsals", ["account", "venue", "rehearsal_id"])
    forbid_changes("rehearsals")


def downgrade() -> None:
    allow_changes("rehearsals")
    op.drop_table("rehearsals")
