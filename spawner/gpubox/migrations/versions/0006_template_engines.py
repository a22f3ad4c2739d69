"""Templates of virtual machines beside those of containers."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """All templates so far are of containers."""
    op.add_column("template_version", sa.Column("engine", sa.String(32), nullable=False, server_default=""))
