"""Sums of the months that are over."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No month is summed up yet: the service does it."""
    op.create_table(
        "closed_month",
        sa.Column("begin", sa.Double, primary_key=True),
        sa.Column("end", sa.Double, primary_key=True),
        sa.Column("closed_at", sa.Double, nullable=False),
    )
    op.create_table(
        "closed_use",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("begin", sa.Double, nullable=False),
        sa.Column("end", sa.Double, nullable=False),
        sa.Column("user", sa.String(255), nullable=False),
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("groups", sa.JSON, nullable=False),
        sa.Column("leases", sa.Integer, nullable=False),
        sa.Column("begun", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in FIGURES),
        sa.ForeignKeyConstraint(
            ["begin", "end"], ["closed_month.begin", "closed_month.end"], ondelete="CASCADE"
        ),
    )
    op.create_index("lease_granted_at", "lease", ["granted_at"])
    op.create_index("closed_use_month", "closed_use", ["begin", "end"])


FIGURES = ("hours", "gpu_hours", "idle_gpu_hours", "measured_gpu_hours", "cost", "idle_cost")
