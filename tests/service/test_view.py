"""What each may see of the hub's state, and what is sent when it changes: pure functions."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from gpubox.service import view as views
from gpubox.service.viewer import Audience, Viewer

ANYONE, ADMIN = Audience(), Audience(manages_all=True)
OF_STUDENTS = Audience(groups=frozenset({"students"}))


def lease(number, user="alice", *, groups=(), granted=True, **more):
    return {
        "id": number,
        "user": user,
        "server": "my <secret> plan",
        "groups": list(groups),
        "granted_at": 5.0 if granted else None,
        **more,
    }


def state(leases=(), line=(), gpus=(), machines=()):
    return {
        "hub": "h",
        "currency": "$",
        "gpus": list(gpus),
        "leases": list(leases),
        "line": list(line),
        "machines": list(machines),
    }


def only_lease(view):
    (found,) = view["leases"]
    return found


def test_a_name_is_for_everybody_where_the_admin_says_so():
    seen = only_lease(views.view(state([lease(1)]), ANYONE, names=True))
    assert (seen["holder"], seen["may_manage"]) == ("alice", False)


def test_without_names_others_see_someone():
    seen = only_lease(views.view(state([lease(1, groups=["students"])]), ANYONE, names=False))
    assert seen["holder"] == "someone"
    assert "alice" not in repr(seen)
    assert "students" not in repr(seen)


def test_what_a_machine_is_called_is_never_for_others():
    seen = only_lease(views.view(state([lease(1)]), ANYONE, names=True))
    assert "secret" not in repr(seen)


def test_a_group_admin_sees_names_of_the_group_alone():
    both = state([lease(1, "alice", groups=["students"]), lease(2, "dan", groups=["staff"])])
    seen = views.view(both, OF_STUDENTS, names=False)["leases"]
    assert [one["holder"] for one in seen] == ["alice", "someone"]
    assert [one["may_manage"] for one in seen] == [True, False]


def test_an_admin_sees_all():
    seen = only_lease(views.view(state([lease(1, groups=["x"])]), ADMIN, names=False))
    assert (seen["holder"], seen["server"], seen["groups"]) == ("alice", "my <secret> plan", ["x"])


def test_a_long_line_is_cut_and_counted():
    waiting = [lease(n, granted=False) for n in range(250)]
    line = [{"lease": n} for n in range(250)]
    seen = views.view(state(waiting, line), ANYONE, names=True)
    assert (len(seen["line"]), len(seen["leases"])) == (views.LINE_SHOWN, views.LINE_SHOWN)
    assert seen["waiting"] == 250
    whole = views.view(state(waiting, line), ANYONE, names=True, whole_line=True)
    assert (len(whole["line"]), len(whole["leases"])) == (250, 250)


def test_ones_own_place_is_told_however_far_back():
    waiting = [lease(n, "bob" if n == 200 else "alice", granted=False) for n in range(250)]
    line = [{"lease": n, "position": n + 1} for n in range(250)]
    own = views.mine(state(waiting, line), Viewer("bob", ANYONE))
    assert own["line"] == [{"lease": 200, "position": 201}]


def test_a_service_owns_nothing():
    assert not views.mine(state([lease(1, "")]), Viewer("", ANYONE))["leases"]


# --- changes ----------------------------------------------------------------------------------------

KEYS = {"gpus": "uuid", "leases": "id", "machines": "name"}


def apply(view, change):
    """What a page does with a change."""
    after = copy.deepcopy(view)
    for part, key in KEYS.items():
        rows = {row[key]: row for row in after[part]}
        rows.update({row[key]: row for row in change.get(part, [])})
        for gone in change.get("gone", {}).get(part, []):
            del rows[gone]
        after[part] = rows
    after["line"] = change.get("line", after["line"])
    after["waiting"] = change.get("waiting", after["waiting"])
    return after


def keyed(view):
    return {**view, **{part: {row[key]: row for row in view[part]} for part, key in KEYS.items()}}


def rows(key):
    row = st.fixed_dictionaries({key: st.integers(0, 5), "value": st.integers(0, 2)})
    return st.lists(row, unique_by=lambda one: one[key], max_size=5)


VIEWS = st.fixed_dictionaries(
    {part: rows(key) for part, key in KEYS.items()}
    | {"line": st.lists(st.integers(0, 3), max_size=3), "waiting": st.integers(0, 4)}
)


@given(VIEWS, VIEWS)
def test_a_change_makes_the_old_view_the_new_one(before, after):
    assert apply(before, views.change(before, after)) == keyed(after)


@given(VIEWS)
def test_nothing_is_sent_where_nothing_changed(view):
    assert views.change(view, copy.deepcopy(view)) == {}


# --- who somebody is --------------------------------------------------------------------------------


def viewer(*scopes, kind="user"):
    return Viewer.from_model({"name": "x", "kind": kind, "scopes": scopes})


def test_scopes_tell_who_manages_what():
    assert viewer("custom:gpubox:manage").is_admin
    assert viewer("admin-ui").is_admin
    of_group = viewer("custom:gpubox:manage!group=students", "access:services!service=gpubox")
    assert not of_group.is_admin
    assert of_group.audience.groups == {"students"}
    assert viewer().audience == ANYONE


def test_a_filter_other_than_a_group_gives_nothing():
    assert viewer("custom:gpubox:manage!user=x").audience == ANYONE


def test_only_scrapers_and_admins_read_the_metrics():
    assert viewer("read:metrics", kind="service").may_scrape
    assert viewer("admin-ui").may_scrape
    assert not viewer("access:services").may_scrape


def test_a_service_of_the_name_of_a_user_is_not_that_user():
    assert not viewer(kind="service").owns({"user": "x", "groups": []})
