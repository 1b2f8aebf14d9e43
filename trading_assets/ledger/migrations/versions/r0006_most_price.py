"""The highest price at which a coin's position can be ordered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("market_scan", sa.Column("most_price", sa.Double))


def downgrade() -> None:
    op.drop_column("market_scan", "most_price")
