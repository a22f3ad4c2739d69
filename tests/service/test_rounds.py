"""What runs beside the pages: a part that fails is begun anew; boxes and budgets are told what is theirs."""

import asyncio
import json

import pytest

from gpubox.budget import Spent, Term
from gpubox.db import open_database
from gpubox.rules import parse_rules
from gpubox.service import rounds
from gpubox.service.boxes import BoxStreams, asked_by, asking
from gpubox.service.live import EMPTY, Live
from gpubox.service.notices import Notices, Wanted
from gpubox.service.store import Store

(RULE,) = parse_rules([{"budget": {"gpu_hours": 100}}])


@pytest.fixture
async def notices(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    store = Store(engine)
    yield Notices(store, Live(None))
    await store.close()
    engine.dispose()


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


async def test_what_fails_is_begun_anew(monkeypatch, caplog):
    monkeypatch.setattr(rounds, "_AGAIN_SECONDS", 0.0)
    begun = []

    async def fails_once():
        begun.append(1)
        if len(begun) == 1:
            raise ValueError("a bug")
        await asyncio.sleep(3600)

    running = asyncio.create_task(rounds.again_and_again("sampling", fails_once))
    await until(lambda: len(begun) == 2)
    running.cancel()
    assert "Sampling failed; beginning anew." in caplog.text


# --- the box's stream ------------------------------------------------------------------------------------


def lease(user, server="", **more):
    known = {"id": 7, "user": user, "server": server, "machine": "cpu", "title": "CPU", "granted_at": 1.0}
    ends = {"ends_at": None, "ends_because": None, "latest_end": None, "price_per_hour": 0.0}
    return known | ends | more


def listen(notices, user, server=""):
    got = []

    def send(text):
        name, data = text.strip().split("\n")
        if name != "event: saves":
            got.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))

    return got, notices.boxes.add(user, server, send)


@pytest.fixture
def boxes(notices):
    notices.boxes = BoxStreams(notices._live, notices)
    return notices.boxes


async def test_a_box_is_told_of_its_own_lease_when_its_end_changes_and_only_then(notices, boxes):
    live = notices._live
    live._take({**EMPTY, "leases": [lease("ada"), lease("ben", id=8)]})
    got, end = listen(notices, "ada")
    live._take({**EMPTY, "leases": [lease("ada"), lease("ben", id=8, ends_at=5.0)]})
    live._take({**EMPTY, "leases": [lease("ada", ends_at=9.0)]})
    live._take(EMPTY)  # a hub that begins anew
    assert [(name, told["id"], told["ends_at"]) for name, told in got] == [
        ("lease", 7, None),
        ("lease", 7, 9.0),
    ]
    end()
    live._take({**EMPTY, "leases": [lease("ada", ends_at=10.0)]})
    assert len(got) == 2 and not boxes._streams and not boxes._shown


async def test_a_box_hears_what_is_about_it_or_all_of_its_users_machines(notices, boxes):
    mine, _ = listen(notices, "ada", "one")
    other, _ = listen(notices, "ada", "two")
    stranger, _ = listen(notices, "ben", "one")
    await notices.tell(Wanted("ada", "one", "idle", "idle 1 machine 5", "It idles."), 1.0)
    whole = await notices.tell(Wanted("ada", None, "budget", "budget 80 5 0 ada", "It is used."), 1.0)
    await notices.close(whole.id)
    assert [told.get("kind", "closed") for _, told in mine] == ["idle", "budget", "closed"]
    assert [told.get("kind", "closed") for _, told in other] == ["budget", "closed"]
    assert stranger == []
    late, _ = listen(notices, "ada", "one")
    assert late == [("closed", {"id": whole.id}), mine[0]]


def test_who_asks_is_named_only_where_names_are():
    assert asking("dan", lease("ada"), "") == "dan asks whether you can let go of CPU."
    assert asking("someone", lease("ada"), "Now.") == "Someone asks whether you can let go of CPU: Now."


async def test_who_has_just_asked_is_known_by_their_own_name_alone(notices):
    for number, name in enumerate(("dan", "x" * 255)):
        await notices.tell(Wanted("ada", "", "ask", f"{asked_by(7, name)} {number + 1}.0", "Please."), 1.0)
    assert notices.last_told(asked_by(7, "dan")) == 1.0
    assert notices.last_told(asked_by(7, "x" * 255)) == 2.0
    others = ((7, "da"), (7, "dan x"), (8, "dan"), (7, "x" * 254))
    assert [notices.last_told(asked_by(*other)) for other in others] == [None] * 4


# --- budgets ---------------------------------------------------------------------------------------------


async def test_budgets_are_told_as_they_fill_and_closed_when_that_is_over(notices):
    used = {"ada": 10.0}
    term = Term("November 2026", 0.0, 4e9)
    notices.budget_seconds = 0.001
    notices._live._take({**EMPTY, "leases": [lease("ada", groups=[])]})
    running = asyncio.create_task(
        notices.tell_budgets(lambda user, groups, now, known: [Spent(RULE, user, used[user], term)])
    )

    def sentences():
        return [notice.sentence.split(":")[0] for notice in notices.open("ada")]

    used["ada"] = 85.0
    await until(lambda: sentences() == ["85 % of your budget for November 2026 are used"])
    used["ada"] = 101.0
    await until(lambda: sentences() == ["Your budget for November 2026 is used up"])
    used["ada"] = 50.0  # the admin has raised it
    await until(lambda: not sentences())
    running.cancel()
