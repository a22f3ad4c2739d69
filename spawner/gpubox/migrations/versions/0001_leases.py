"""GPUs and leases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables. Written out: a migration does not change when the tables do."""
    op.create_table("hub", sa.Column("id", sa.String(32), primary_key=True))
    op.create_table(
        "gpu",
        sa.Column("uuid", sa.String(96), primary_key=True),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("memory_mib", sa.Integer),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("mig_profile", sa.String(64)),
        sa.Column("parent", sa.String(96)),
        sa.Column("problem", sa.Text, nullable=False, server_default=""),
        sa.Column("drain_reason", sa.Text),
        sa.Column("first_seen", sa.Double, nullable=False),
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user", sa.String(255), nullable=False),
        sa.Column("server", sa.String(255), nullable=False),
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("slots_per_gpu", sa.Integer, nullable=False),
        sa.Column("mig_profile", sa.String(64)),
        sa.Column("price_per_hour", sa.Double, nullable=False),
        sa.Column("groups", sa.JSON, nullable=False),
        sa.Column("requested_at", sa.Double, nullable=False),
        sa.Column("granted_at", sa.Double),
        sa.Column("released_at", sa.Double),
        sa.Column("end_reason", sa.Text),
    )
    op.create_index(
        "one_open_lease_per_server",
        "lease",
        ["user", "server"],
        unique=True,
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_index("lease_released_at", "lease", ["released_at"])
    op.create_table(
        "lease_gpu",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lease_id", sa.Integer, sa.ForeignKey("lease.id"), nullable=False),
        sa.Column("gpu_uuid", sa.String(96), sa.ForeignKey("gpu.uuid"), nullable=False),
        sa.Column("slot", sa.Integer, nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
    )
    op.create_index("ix_lease_gpu_lease_id", "lease_gpu", ["lease_id"])
    op.create_index(
        "one_holder_per_slot",
        "lease_gpu",
        ["gpu_uuid", "slot"],
        unique=True,
        sqlite_where=sa.text("open IS 1"),
        postgresql_where=sa.text("open IS true"),
    )


def downgrade() -> None:
    """Remove the tables."""
    for table in ("lease_gpu", "lease", "gpu", "hub"):
        op.drop_table(table)
