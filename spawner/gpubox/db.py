"""The tables: GPUs; leases, which are ticket, lease and bill in one row; templates; what was used; notices.

How a schema of an older version becomes this one is in ``migrations``. GPUs and leases are written by
``pool`` alone, in the hub's process; the tables below them by the service alone. Times are seconds
since the epoch (UTC), as floats.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.pool import StaticPool

metadata = sa.MetaData()

hub = sa.Table(
    "hub",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
)

gpu = sa.Table(
    "gpu",
    metadata,
    sa.Column("uuid", sa.String(96), primary_key=True),
    sa.Column("model", sa.String(128), nullable=False),
    sa.Column("memory_mib", sa.Integer),
    sa.Column("index", sa.Integer, nullable=False),
    sa.Column("mig_profile", sa.String(64)),
    sa.Column("parent", sa.String(96)),
    # Empty while the GPU is in order; else a sentence, and it is lost until a check passes.
    sa.Column("problem", sa.Text, nullable=False, server_default=""),
    # Null unless an admin drains it.
    sa.Column("drain_reason", sa.Text),
    sa.Column("first_seen", sa.Double, nullable=False),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user", sa.String(255), nullable=False),
    sa.Column("server", sa.String(255), nullable=False),
    sa.Column("machine", sa.String(64), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("slots_per_gpu", sa.Integer, nullable=False),
    sa.Column("mig_profile", sa.String(64)),
    # The price of the day: a later change of the price does not change the bill.
    sa.Column("price_per_hour", sa.Double, nullable=False),
    sa.Column("groups", sa.JSON, nullable=False),
    # The length that was chosen for it, in seconds; null for one with no end.
    sa.Column("session_seconds", sa.Double),
    # Tickets of a higher rank are served first: an admin moved them. 0 is the fair order.
    sa.Column("rank", sa.Integer, nullable=False, server_default="0"),
    sa.Column("requested_at", sa.Double, nullable=False),
    sa.Column("granted_at", sa.Double),
    # When it will be stopped, and by what: "session" (the length chosen) or "budget".
    sa.Column("ends_at", sa.Double),
    sa.Column("ends_because", sa.String(16)),
    sa.Column("released_at", sa.Double),
    sa.Column("end_reason", sa.Text),
)

# A server has one open ticket or lease; the second click finds the first one's.
sa.Index(
    "one_open_lease_per_server",
    lease.c.user,
    lease.c.server,
    unique=True,
    sqlite_where=lease.c.released_at.is_(None),
    postgresql_where=lease.c.released_at.is_(None),
)
sa.Index("lease_released_at", lease.c.released_at)
# When the ledger begins.
sa.Index("lease_granted_at", lease.c.granted_at)
# Budgets and one's own bill: what a user has used lately.
sa.Index("lease_user_released_at", lease.c.user, lease.c.released_at)

lease_gpu = sa.Table(
    "lease_gpu",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("lease_id", sa.Integer, sa.ForeignKey("lease.id"), nullable=False, index=True),
    sa.Column("gpu_uuid", sa.String(96), sa.ForeignKey("gpu.uuid"), nullable=False),
    # Slot number `slot` of the `slots` into which the card was divided.
    sa.Column("slot", sa.Integer, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("open", sa.Boolean, nullable=False),
)

# What makes a double lease impossible: an exclusive lease holds all slots of its card.
sa.Index(
    "one_holder_per_slot",
    lease_gpu.c.gpu_uuid,
    lease_gpu.c.slot,
    unique=True,
    sqlite_where=lease_gpu.c.open.is_(True),
    postgresql_where=lease_gpu.c.open.is_(True),
)

# --- templates, written by the hub (`gpubox.machine_templates.store`) --------------------------------------

template = sa.Table(
    "template",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.String(255), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
)
sa.Index("one_template_of_a_name", template.c.owner, template.c.name, unique=True)

# What was saved is never changed: saving again is a version of its own.
template_version = sa.Table(
    "template_version",
    metadata,
    sa.Column("template_id", sa.Integer, sa.ForeignKey("template.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("image", sa.String(255), nullable=False, unique=True),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("machine", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("saved_at", sa.Double, nullable=False),
    # Paths that look like a secret; others see the version once its owner has said that they are none.
    sa.Column("secrets", sa.JSON, nullable=False),
    sa.Column("cleared", sa.Boolean, nullable=False),
    # Of machine types: empty for containers, whose image it is, or libvirt.
    sa.Column("engine", sa.String(32), nullable=False, server_default=""),
)

template_share = sa.Table(
    "template_share",
    metadata,
    sa.Column("template_id", sa.Integer, sa.ForeignKey("template.id"), primary_key=True),
    # user, group or everyone; the last has no name.
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
)

# --- written by the service -------------------------------------------------------------------------

# What a lease made of its GPU, in parts of a quarter of an hour: every time zone's month begins with one.
USE_SECONDS = 900

gpu_use = sa.Table(
    "gpu_use",
    metadata,
    sa.Column("begin", sa.Integer, primary_key=True, autoincrement=False),  # a multiple of USE_SECONDS
    sa.Column("gpu_uuid", sa.String(96), primary_key=True),
    # 0 while nobody held it. A GPU that several share has a row each.
    sa.Column("lease_id", sa.Integer, primary_key=True, autoincrement=False),
    # For how long somebody looked; the rest of the time nobody knows.
    sa.Column("measured_seconds", sa.Double, nullable=False),
    # For how much of that it did nothing.
    sa.Column("idle_seconds", sa.Double, nullable=False),
    # Utilisation (0 to 1) times seconds; over measured_seconds it is the mean.
    sa.Column("utilised_seconds", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)
sa.Index("gpu_use_lease_id", gpu_use.c.lease_id)

# Months that are over, summed up once and for all: what is asked of years reads these. By begin and end, as
# another time zone has other months.
closed_month = sa.Table(
    "closed_month",
    metadata,
    sa.Column("begin", sa.Double, primary_key=True),
    sa.Column("end", sa.Double, primary_key=True),
    sa.Column("closed_at", sa.Double, nullable=False),
)

# What the leases of one user, with the same groups, came to on a machine type in such a month (`books.sums`).
closed_use = sa.Table(
    "closed_use",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("begin", sa.Double, nullable=False),
    sa.Column("end", sa.Double, nullable=False),
    sa.Column("user", sa.String(255), nullable=False),
    sa.Column("machine", sa.String(64), nullable=False),
    sa.Column("groups", sa.JSON, nullable=False),
    sa.Column("leases", sa.Integer, nullable=False),
    sa.Column("begun", sa.Integer, nullable=False),
    sa.Column("hours", sa.Double, nullable=False),
    sa.Column("gpu_hours", sa.Double, nullable=False),
    sa.Column("idle_gpu_hours", sa.Double, nullable=False),
    sa.Column("measured_gpu_hours", sa.Double, nullable=False),
    sa.Column("cost", sa.Double, nullable=False),
    sa.Column("idle_cost", sa.Double, nullable=False),
    sa.ForeignKeyConstraint(["begin", "end"], ["closed_month.begin", "closed_month.end"], ondelete="CASCADE"),
)
sa.Index("closed_use_month", closed_use.c.begin, closed_use.c.end)

# When a machine last showed each kind of life: what the culler goes by, also after a restart.
activity = sa.Table(
    "activity",
    metadata,
    sa.Column("lease_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("reported_at", sa.Double),
    sa.Column("kernel_at", sa.Double),
    sa.Column("terminal_at", sa.Double),
    sa.Column("desktop_at", sa.Double),
    sa.Column("gpu_at", sa.Double),
    # When its user last pressed "keep".
    sa.Column("kept_at", sa.Double),
)

notice = sa.Table(
    "notice",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user", sa.String(255), nullable=False),
    # Null for all of the user's servers.
    sa.Column("server", sa.String(255)),
    sa.Column("kind", sa.String(32), nullable=False),
    # What it is about, so that it is told once: "budget 80 ada 2026-11 rule 2".
    sa.Column("subject", sa.String(255), nullable=False, unique=True),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Column("told_at", sa.Double, nullable=False),
    # When what it warns of happens; it counts down to that, and is over then.
    sa.Column("due_at", sa.Double),
    # Seen or dismissed by the user, or no longer true.
    sa.Column("closed_at", sa.Double),
    # When it went out by webhook or e-mail.
    sa.Column("sent_at", sa.Double),
)
sa.Index("notice_user", notice.c.user, notice.c.closed_at)

# The public keys by which the SSH gateway knows people: put in on the service's page.
ssh_key = sa.Table(
    "ssh_key",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user", sa.String(255), nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    # In words: "Ed25519", "RSA 3072".
    sa.Column("kind", sa.String(64), nullable=False),
    # As OpenSSH writes it: algorithm and base64, with no comment.
    sa.Column("key", sa.Text, nullable=False),
    # Of one user alone: the key tells who somebody is.
    sa.Column("fingerprint", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("last_used_at", sa.Double),
    # A number is never given out again: open connections go by it.
    sqlite_autoincrement=True,
)


def open_database(url: str, hub_id: str = "") -> sa.Engine:
    """Open the database at an SQLAlchemy URL and bring its tables up to date.

    A new database gets ``hub_id``, by which the hub's containers are known; random by default.
    Raises ValueError with a sentence where it cannot be opened or used.
    """
    try:
        engine = _make_engine(sa.engine.make_url(url))
        with engine.begin() as connection:
            _migrate(connection)
            if connection.scalar(sa.select(hub.c.id)) is None:
                connection.execute(hub.insert().values(id=hub_id or secrets.token_hex(8)))
    except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        shown = sa.engine.make_url(url).render_as_string() if "://" in url else url
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"The database of leases ({shown}) cannot be opened: {reason}. Check c.GPUHub.database_url."
        ) from error
    return engine


def claim(engine: sa.Engine) -> object:
    """Make this process the only one that writes leases; lasts as long as what is returned is kept.

    The pool answers from memory, so two hubs over one database would both hand out what is free.
    However the process ends, the claim ends with it. Raises ValueError with a sentence where
    another hub has it.
    """
    try:
        if engine.dialect.name == "sqlite":
            return _lock_file(engine.url.database)
        return _lock_server(engine)
    except (OSError, sa.exc.OperationalError) as error:
        raise ValueError(
            f"Another hub uses the database of leases ({engine.url.render_as_string()}). Stop it first,"
            " or give this one a database of its own: c.GPUHub.database_url, or all of its state a"
            " directory of its own: GPUBOX_DIR=/srv/second-hub."
        ) from error


def _lock_file(database: str | None) -> object:
    if not database or database == ":memory:":
        return None
    # SQLite locks the database itself for each write: a file beside it is locked for good.
    file = open(f"{database}.lock", "w", opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _lock_server(engine: sa.Engine) -> object:
    if engine.dialect.name != "postgresql":
        return None
    connection = engine.connect()
    # The server may take a moment to notice that the last hub was killed.
    connection.execute(sa.text("SET lock_timeout = '5s'"))
    connection.execute(sa.text("SELECT pg_advisory_lock(hashtext('gpubox leases'))"))
    connection.commit()
    return connection


def connect(url: str) -> sa.Engine:
    """The database at an SQLAlchemy URL as it is, for a process beside the one that opened it."""
    return _make_engine(sa.engine.make_url(url))


def _make_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    if not url.database or url.database == ":memory:":
        # One connection for all threads, or each would see a database of its own.
        engine = sa.create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        _make_private(Path(url.database))
        engine = sa.create_engine(url)
    sa.event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _make_private(path: Path) -> None:
    """Make the file before SQLite does: for its owner's eyes only."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _set_up_sqlite(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA busy_timeout = 10000")
    cursor.close()


def _migrate(connection: sa.Connection) -> None:
    config = Config()
    directory = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(directory).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
