"""Records of templates and who may do what with them, on a real database."""

import pytest

from gpubox.db import open_database
from gpubox.machine_templates import Actor, NoSuchTemplate, Share, split_reference
from gpubox.machine_templates.rights import manages, seen_by, startable
from gpubox.machine_templates.store import TemplateStore
from gpubox.refusal import PoolRefusal

ALICE, BOB = Actor("alice"), Actor("bob")
MEMBER, ADMIN, COMMAND_LINE = (
    Actor("dora", frozenset({"lab"})),
    Actor("root", is_admin=True),
    Actor("", is_admin=True),
)


@pytest.fixture
def store(tmp_path):
    return TemplateStore(open_database(f"sqlite:///{tmp_path / 'gpubox.sqlite'}"))


def save(store, name="lab", *, owner="alice", secrets=(), note="", now=1.0, image=None):
    return store.add_version(
        owner,
        name,
        note,
        now,
        image=image or f"gpubox/template:{owner}-{name}-{now}",
        base="gpubox/cpu:latest",
        machine="cpu",
        size_bytes=100,
        secrets=list(secrets),
        cleared=not secrets,
    )


def test_saving_again_is_a_version_of_its_own_and_keeps_the_note(store):
    assert save(store, note="for class").number == 1
    assert save(store, now=2.0).number == 2
    found = store.find("alice", "lab")
    assert [version.number for version in found.versions] == [1, 2]
    assert (found.note, found.size_bytes, found.reference) == ("for class", 200, "alice/lab")


def test_a_number_is_not_used_again_while_a_later_one_is_there(store):
    for now in (1.0, 2.0):
        save(store, now=now)
    store.remove_version(store.find("alice", "lab").id, 1)
    assert save(store, now=3.0).number == 3


def test_the_last_version_takes_the_template_along(store):
    save(store)
    template = store.find("alice", "lab")
    store.share(template.id, Share("user", "bob"), clear=False)
    store.remove_version(template.id, 1)
    with pytest.raises(NoSuchTemplate):
        store.find("alice", "lab")
    save(store)
    assert startable(store.find("alice", "lab"), BOB) == ()


def test_a_name_is_its_owners_once(store):
    save(store)
    save(store, "other")
    save(store, owner="bob")
    with pytest.raises(PoolRefusal, match="lab already"):
        store.describe(store.find("alice", "other").id, "lab", "")


@pytest.mark.parametrize(
    ("share", "who", "others"),
    [
        (Share("user", "bob"), BOB, MEMBER),
        (Share("group", "lab"), MEMBER, BOB),
        (Share("everyone"), MEMBER, None),
    ],
)
def test_those_start_it_with_whom_it_is_shared_and_nobody_else_sees_it(store, share, who, others):
    save(store)
    assert seen_by(store.find("alice", "lab"), who) is None
    template = store.find("alice", "lab")
    store.share(template.id, share, clear=False)
    store.share(template.id, share, clear=False)
    template = store.find("alice", "lab")
    assert len(startable(template, who)) == 1 and not manages(template, who)
    assert others is None or seen_by(template, others) is None
    store.unshare(template.id, share)
    assert seen_by(store.find("alice", "lab"), who) is None


def test_a_user_called_as_a_group_is_not_the_group(store):
    save(store)
    store.share(store.find("alice", "lab").id, Share("group", "bob"), clear=False)
    assert startable(store.find("alice", "lab"), BOB) == ()


def test_an_admin_sees_and_manages_it_and_starts_only_what_is_shared(store):
    save(store, secrets=["/opt/.env"])
    template = store.find("alice", "lab")
    assert manages(template, ADMIN) and manages(template, COMMAND_LINE)
    assert startable(template, ADMIN) == ()
    assert seen_by(template, ADMIN)["versions"][0]["secrets"] == ["/opt/.env"]


def test_what_looks_like_a_secret_is_its_owners_until_it_is_cleared(store):
    save(store, secrets=["/opt/.env"])
    template = store.find("alice", "lab")
    store.share(template.id, Share("everyone"), clear=False)
    assert startable(store.find("alice", "lab"), BOB) == ()
    assert len(startable(store.find("alice", "lab"), ALICE)) == 1
    store.share(template.id, Share("everyone"), clear=True)
    seen = seen_by(store.find("alice", "lab"), BOB)
    assert seen["startable"] == [1] and seen["versions"][0]["secrets"] == [] and seen["shares"] == []


@pytest.mark.parametrize(
    "reference", ["", "lab", "/lab", "a/b/", "a/B", "a/lab:", "a/lab:x", "a/lab:٣", "a/lab:1:2", "a/.."]
)
def test_what_can_be_no_reference_is_none(reference):
    with pytest.raises(NoSuchTemplate, match="expected owner/name"):
        split_reference(reference)


def test_a_reference_names_owner_name_and_version():
    assert split_reference("ada@x.org/lab:12") == ("ada@x.org", "lab", 12)
    assert split_reference("ada/lab") == ("ada", "lab", None)
