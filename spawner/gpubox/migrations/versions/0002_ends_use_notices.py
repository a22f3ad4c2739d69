"""When leases end and which tickets come first; what GPUs did; notices."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Leases of before have no end but that of their machine type, and the fair order."""
    with op.batch_alter_table("lease") as lease:
        lease.add_column(sa.Column("session_seconds", sa.Double))
        lease.add_column(sa.Column("rank", sa.Integer, nullable=False, server_default="0"))
        lease.add_column(sa.Column("ends_at", sa.Double))
        lease.add_column(sa.Column("ends_because", sa.String(16)))
    op.create_index("lease_user_released_at", "lease", ["user", "released_at"])
    op.create_table(
        "gpu_use",
        sa.Column("begin", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("gpu_uuid", sa.String(96), primary_key=True),
        sa.Column("lease_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("measured_seconds", sa.Double, nullable=False),
        sa.Column("idle_seconds", sa.Double, nullable=False),
        sa.Column("utilised_seconds", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("gpu_use_lease_id", "gpu_use", ["lease_id"])
    op.create_table(
        "activity",
        sa.Column("lease_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("reported_at", sa.Double),
        sa.Column("kernel_at", sa.Double),
        sa.Column("terminal_at", sa.Double),
        sa.Column("desktop_at", sa.Double),
        sa.Column("gpu_at", sa.Double),
        sa.Column("kept_at", sa.Double),
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user", sa.String(255), nullable=False),
        sa.Column("server", sa.String(255)),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False, unique=True),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("told_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double),
        sa.Column("closed_at", sa.Double),
        sa.Column("sent_at", sa.Double),
    )
    op.create_index("notice_user", "notice", ["user", "closed_at"])
