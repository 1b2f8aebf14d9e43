"""Rows that may still grow are read again, and messages are kept until they are sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("reconciliations", sa.Column("growing_since_ms", sa.BigInteger))
    op.create_table(
        "untold_messages",
        sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_untold_messages_account", "untold_messages", ["account", "message_id"])


def downgrade() -> None:
    op.drop_index("ix_untold_messages_account", "untold_messages")
    op.drop_table("untold_messages")
    op.drop_column("reconciliations", "growing_since_ms")
