"""The mark of the installation: an unshared folder, or a worker with other code, is noticed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("installation_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("mark", sa.String(36), nullable=False),
        sa.Column("home", sa.Text, nullable=False),
        sa.Column("code", sa.String(64)),
    )


def downgrade() -> None:
    op.drop_table("installation")
