"""Notices against a real hub: what a box's stream tells, who may ask whom, what outlives a kill."""

import time

import pytest

from service.box_stand_in import BoxStandIn, kill_service


@pytest.fixture
def start(hub):
    """Starts a user's machine, and gives its box; ends all of it after the test."""
    boxes = []

    def begin(user, machine="cpu", **options):
        hub.run(user, machine, **options)
        boxes.append(BoxStandIn(hub, user))
        return boxes[-1]

    yield begin
    for box in boxes:
        box.stop()
    hub.stop_all()


def lease_of(hub, user):
    return next(lease["id"] for lease in hub.open_leases() if lease["user"] == user)


def next_event(events, name):
    while True:
        told, what = events.get(timeout=30)
        if told == name:
            return what


def test_a_box_is_told_of_its_lease_first(hub, people, start):
    box = start("alice", "h100")
    told = next_event(box.listen(), "lease")
    assert told["id"] == lease_of(hub, "alice")
    assert (told["price_per_hour"], told["title"]) == (2.5, "1x H100")
    assert {"ends_at", "ends_because", "latest_end", "currency"} <= told.keys()


def test_a_box_hears_of_a_lease_that_is_extended(hub, people, start):
    box = start("alice", shutdown="1h")
    events = box.listen()
    before = next_event(events, "lease")
    asked = people["alice"].ask("POST", f"api/leases/{before['id']}/extend", json={"seconds": 3600})
    assert asked.status_code == 200, asked.text
    assert next_event(events, "lease")["ends_at"] == pytest.approx(before["ends_at"] + 3600)


def test_nobody_listens_at_anothers_box_nor_at_one_that_does_not_run(hub, people, start):
    box = start("alice")
    assert box.ask("GET", "api/box/events", params={"server": "other"}).status_code == 404
    assert people["dan"].ask("GET", "api/box/events").status_code == 404


def test_somebody_asks_the_holder_to_let_go_and_the_holder_is_told_once(hub, people, start):
    box = start("alice", "h100")
    events = box.listen()
    path = f"api/leases/{lease_of(hub, 'alice')}/ask"
    assert people["dan"].ask("POST", path, json={"words": "My deadline is today."}).status_code == 200
    told = next_event(events, "notice")
    assert told["kind"] == "ask"
    assert told["sentence"] == "dan asks whether you can let go of 1x H100: My deadline is today."
    again = people["dan"].ask("POST", path, json={})
    assert again.status_code == 429 and "ask again in 10 min" in again.json()["message"]
    assert people["bob"].ask("POST", path, json={}).status_code == 200
    assert [one["sentence"][:4] for one in box.notices("ask")] == ["dan ", "bob "]


def test_one_does_not_ask_oneself_nor_with_a_page_of_words(hub, people, start):
    start("alice", "h100")
    path = f"api/leases/{lease_of(hub, 'alice')}/ask"
    assert people["alice"].ask("POST", path, json={}).status_code == 409
    assert people["dan"].ask("POST", path, json={"words": "x" * 301}).status_code == 400
    assert people["dan"].ask("POST", path, json={"words": "two\nlines"}).status_code == 400
    assert people["dan"].ask("POST", "api/leases/999999/ask", json={}).status_code == 404


def test_who_waits_cannot_be_asked(hub, people, start):
    start("alice", "h100")
    start("bob", "h100")
    hub.ask_for("dan", "h100")
    hub.until(lambda: any(lease["user"] == "dan" for lease in hub.open_leases()), "dan waits")
    ticket = lease_of(hub, "dan")
    seen = hub.until(
        lambda: [one for one in people["bob"].state()["line"] if one["lease"] == ticket], "bob sees it"
    )
    assert seen
    assert people["bob"].ask("POST", f"api/leases/{ticket}/ask", json={}).status_code == 409


def test_a_notice_is_its_users_to_close(hub, people, start):
    box = start("alice", "h100")
    events = box.listen()
    people["dan"].ask("POST", f"api/leases/{lease_of(hub, 'alice')}/ask", json={})
    notice = next_event(events, "notice")
    assert people["dan"].ask("POST", f"api/notices/{notice['id']}/close", json={}).status_code == 404
    assert people["dan"].ask("GET", "api/notices").json() == {"notices": []}
    assert people["alice"].ask("POST", f"api/notices/{notice['id']}/close", json={}).status_code == 200
    assert next_event(events, "closed") == {"id": notice["id"]}
    assert box.notices("ask") == []


def test_a_box_that_did_not_listen_is_told_what_was_closed_meanwhile(hub, people, start):
    box = start("alice", "h100")
    people["dan"].ask("POST", f"api/leases/{lease_of(hub, 'alice')}/ask", json={})
    (notice,) = box.notices("ask")
    people["alice"].ask("POST", f"api/notices/{notice['id']}/close", json={})
    events = box.listen()
    while next_event(events, "closed") != {"id": notice["id"]}:
        pass


def test_a_lost_gpu_is_told_to_its_holder_until_it_is_back(hub, people, driver, start):
    box = start("alice", "h100")
    events = box.listen()
    lost = next(gpu for gpu in driver.gpus if [gpu.uuid] == hub.gpus_held()["alice"])
    lost.lose()
    try:
        told = next_event(events, "notice")
        assert told["kind"] == "lost" and told["sentence"].startswith("A GPU of 1x H100 is lost:")
    finally:
        lost.recover()
    assert next_event(events, "closed") == {"id": told["id"]}


def test_a_session_that_ends_soon_is_told_with_its_time_and_no_more_once_it_is_extended(hub, people, start):
    box = start("alice", shutdown="1h")
    events = box.listen()
    before = next_event(events, "lease")
    # An hour of a session cannot be waited for: the hub is told that it began long ago.
    soon = time.time() + 300
    hub.kill()
    began = soon - 3600
    hub.sql(
        f"UPDATE lease SET requested_at = {began}, granted_at = {began}, ends_at = {soon}"
        f" WHERE id = {before['id']}"
    )
    hub.start()
    (told,) = hub.until(lambda: _quietly(lambda: box.notices("end")), "alice is told", 60)
    assert told["due_at"] == pytest.approx(soon)
    asked = people["alice"].ask("POST", f"api/leases/{before['id']}/extend", json={"seconds": 1800})
    assert asked.status_code == 200, asked.text
    hub.until(lambda: not box.notices("end"), "that is over", 30)


def test_notices_outlive_a_kill_of_the_service_and_are_told_first_to_who_listens_anew(hub, people, start):
    box = start("alice", "h100")
    people["dan"].ask("POST", f"api/leases/{lease_of(hub, 'alice')}/ask", json={})
    (before,) = box.notices("ask")
    kill_service(hub)
    events = hub.until(lambda: _quietly(box.listen), "the box listens again", 30)
    assert next_event(events, "notice") == before
    again = people["dan"].ask("POST", f"api/leases/{lease_of(hub, 'alice')}/ask", json={})
    assert again.status_code == 429
    box.stop()
    assert "notice" not in [name for name, _ in list(events.queue)]


def _quietly(ask):
    """What is asked of a service that is just beginning; None while it does not answer."""
    try:
        return ask()
    except AssertionError:
        return None
