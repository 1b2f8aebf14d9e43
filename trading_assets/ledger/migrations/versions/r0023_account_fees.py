"""The fees of an account, as the venue tells them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "account_fees",
        sa.Column("account", sa.String(32), primary_key=True),
        sa.Column("taker", sa.Double, nullable=False),
        sa.Column("maker", sa.Double, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("account_fees")
