"""Templates, their versions, and with whom they are shared."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """There were none before."""
    op.create_table(
        "template",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("one_template_of_a_name", "template", ["owner", "name"], unique=True)
    op.create_table(
        "template_version",
        sa.Column("template_id", sa.Integer, sa.ForeignKey("template.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("image", sa.String(255), nullable=False, unique=True),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("saved_at", sa.Double, nullable=False),
        sa.Column("secrets", sa.JSON, nullable=False),
        sa.Column("cleared", sa.Boolean, nullable=False),
    )
    op.create_table(
        "template_share",
        sa.Column("template_id", sa.Integer, sa.ForeignKey("template.id"), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
    )
