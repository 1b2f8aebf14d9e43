"""Which older versions of the program can work with the schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.create_table("schema_compatibility", sa.Column("works_since", sa.String(32), primary_key=True))


def downgrade() -> None:
    op.drop_table("schema_compatibility")
