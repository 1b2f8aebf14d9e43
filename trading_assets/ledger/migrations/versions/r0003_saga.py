"""Leases; an order whose position was closed has a state of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_intents = sa.table("order_intents", sa.column("status"), sa.column("open_slot"))


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("expires_wall_ms", sa.BigInteger, nullable=False),
    )
    closed = sa.and_(_intents.c.status == "confirmed", _intents.c.open_slot.is_(None))
    op.execute(sa.update(_intents).where(closed).values(status="closed"))


def downgrade() -> None:
    op.execute(sa.update(_intents).where(_intents.c.status == "closed").values(status="confirmed"))
    op.drop_table("leases")
