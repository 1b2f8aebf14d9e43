"""The balance of dollars at each snapshot, and what of its changes the transaction log does not explain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("equity", sa.Column("dollars", sa.Text))
    op.add_column("equity", sa.Column("unexplained", sa.Text, nullable=False, server_default="0"))
    op.add_column("equity", sa.Column("unexplained_since_ms", sa.BigInteger))


def downgrade() -> None:
    for name in ("dollars", "unexplained", "unexplained_since_ms"):
        op.drop_column("equity", name)
