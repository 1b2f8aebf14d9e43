"""A lease knows its length: a clock that is put back makes nobody wait longer than that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("leases", sa.Column("ttl_ms", sa.BigInteger, nullable=False, server_default="30000"))


def downgrade() -> None:
    op.drop_column("leases", "ttl_ms")
