"""The database's own promises, on SQLite and on a real PostgreSQL alike."""

import os
import signal
import stat
import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gpubox import db as tables
from gpubox.db import claim, open_database

DIE_IN_THE_MIDDLE = """
import os, signal, sys
from gpubox import db as tables
from gpubox.db import open_database
connection = open_database(sys.argv[1]).connect()
connection.execute(tables.hub.insert().values(id="half-written"))
print("in", flush=True)
signal.pause()
"""

CLAIM_AND_STAY = """
import signal, sys
from gpubox.db import claim, open_database
kept = claim(open_database(sys.argv[1]))
print("in", flush=True)
signal.pause()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def db(url):
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(
            tables.gpu.insert().values(uuid="GPU-0", model="H100", index=0, first_seen=0.0)
        )
    yield engine
    engine.dispose()


def run_until_in(program, url):
    process = subprocess.Popen(
        [sys.executable, "-c", program, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in\n", process.stderr.read()
    return process


def ask(connection, user, **values):
    ticket = {
        "user": user,
        "server": "",
        "machine": "one",
        "title": "1x H100",
        "count": 1,
        "slots_per_gpu": 1,
        "price_per_hour": 2.5,
        "groups": [],
        "requested_at": 1.0,
    }
    return connection.execute(tables.lease.insert().values(ticket | values)).inserted_primary_key[0]


def hold(connection, lease, slot=0, *, uuid="GPU-0", is_open=True):
    connection.execute(
        tables.lease_gpu.insert().values(lease_id=lease, gpu_uuid=uuid, slot=slot, slots=4, open=is_open)
    )


def test_a_slot_cannot_be_held_twice(db):
    with db.begin() as connection:
        first, second = ask(connection, "ann"), ask(connection, "bob")
        hold(connection, first)
    with pytest.raises(sa.exc.IntegrityError), db.begin() as connection:
        hold(connection, second)
    with db.begin() as connection:
        hold(connection, second, slot=1)


def test_a_slot_that_was_given_back_can_be_held_again(db):
    with db.begin() as connection:
        first, second = ask(connection, "ann"), ask(connection, "bob")
        hold(connection, first, is_open=False)
        hold(connection, first, is_open=False)
        hold(connection, second)


def test_a_server_has_one_open_lease(db):
    with db.begin() as connection:
        ask(connection, "ann")
        ask(connection, "ann", server="second")
    with pytest.raises(sa.exc.IntegrityError), db.begin() as connection:
        ask(connection, "ann")


def test_a_closed_lease_does_not_stand_in_the_way_of_the_next(db):
    with db.begin() as connection:
        ask(connection, "ann", released_at=2.0)
        ask(connection, "ann", released_at=3.0)
        ask(connection, "ann")


def test_a_gpu_that_nobody_knows_cannot_be_held(db):
    with db.begin() as connection:
        lease = ask(connection, "ann")
    with pytest.raises(sa.exc.IntegrityError), db.begin() as connection:
        hold(connection, lease, uuid="GPU-unknown")


def test_migrations_lead_to_the_tables_that_the_program_knows(db):
    with db.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_migrations_make_the_indexes_on_which_it_all_rests(db):
    """compare_metadata does not compare the WHERE of partial indexes."""
    inspector = sa.inspect(db)
    for table, name in (("lease", "one_open_lease_per_server"), ("lease_gpu", "one_holder_per_slot")):
        (index,) = (one for one in inspector.get_indexes(table) if one["name"] == name)
        assert index["unique"]
        assert index["dialect_options"][f"{db.dialect.name}_where"] is not None


def test_the_hubs_id_stays_when_it_is_opened_again(url):
    ids = []
    for hub_id in ("first", "second"):
        with open_database(url, hub_id).connect() as connection:
            ids.append(connection.scalars(sa.select(tables.hub.c.id)).one())
    assert ids == ["first", "first"]


def test_killed_in_the_middle_nothing_is_half_written(url):
    open_database(url, "whole").dispose()
    writer = run_until_in(DIE_IN_THE_MIDDLE, url)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    with open_database(url).begin() as connection:
        assert connection.scalars(sa.select(tables.hub.c.id)).all() == ["whole"]
        connection.execute(tables.hub.insert().values(id="another"))


def test_one_process_alone_writes_leases_until_it_is_killed(url):
    first = run_until_in(CLAIM_AND_STAY, url)
    with pytest.raises(ValueError, match="Another hub uses the database of leases"):
        claim(open_database(url))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    run_until_in(CLAIM_AND_STAY, url).kill()


def test_the_file_is_for_its_owner_alone(tmp_path):
    file = tmp_path / "ledger.sqlite"
    kept = claim(open_database(f"sqlite:///{file}"))
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert kept is not None


@pytest.mark.parametrize(
    "url",
    [
        "no url at all",
        "nosuchdatabase://host/ledger",
        "sqlite:////no/such/directory/ledger.sqlite",
        "postgresql+psycopg://gpubox:hunter2@127.0.0.1:1/ledger",
    ],
)
def test_what_cannot_be_opened_is_said_in_a_sentence_without_the_password(url):
    with pytest.raises(ValueError, match=r"cannot be opened: .*Check c\.GPUHub\.database_url\.") as refused:
        open_database(url)
    assert "hunter2" not in str(refused.value)


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("my notes\n" * 100)
    with pytest.raises(ValueError, match="cannot be opened"):
        open_database(f"sqlite:///{file}")
    assert file.read_text() == "my notes\n" * 100
