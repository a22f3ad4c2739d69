"""What is worth telling, as pure functions of the hub's state: once each, and no longer than it is true."""

from datetime import datetime

from gpubox.budget import Spent, Term
from gpubox.rules import parse_rules
from gpubox.service.notices import Wanted, of_budgets, over, subject, wanted
from gpubox.service.store import Notice

NOW = datetime(2026, 11, 23, 12, 0).timestamp()
MINUTE = 60.0
HOUR = 3600.0


def lease(**more):
    return {
        "id": 7,
        "user": "ada",
        "server": "",
        "title": "1x H100",
        "gpus": ["GPU-0"],
        "requested_at": NOW - 2 * HOUR,
        "granted_at": NOW - 2 * HOUR,
        "is_ready": True,
        "ends_at": None,
        "ends_because": None,
        "latest_end": None,
        **more,
    }


def state(*leases, lost=()):
    gpus = [
        {"uuid": uuid, "state": "lost" if uuid in lost else "leased", "reason": "It fell off the bus."}
        for uuid in ("GPU-0", "GPU-1")
    ]
    return {"leases": list(leases), "gpus": gpus}


def told(*leases, now=NOW, **more):
    return list(wanted(state(*leases, **more), now))


def notice(one: Wanted):
    return Notice(1, one.user, one.server, one.kind, one.subject, one.sentence, NOW, one.due_at)


def test_all_quiet():
    assert told(lease()) == []


def test_who_waited_is_told_that_the_machine_runs():
    (one,) = told(lease(granted_at=NOW - MINUTE, requested_at=NOW - HOUR))
    assert (one.kind, one.user, one.server) == ("free", "ada", "")
    assert one.sentence == "1x H100 is running for you, after 59 minutes in line."


def test_who_did_not_wait_or_has_had_it_for_long_or_cannot_use_it_yet_is_not():
    assert told(lease(granted_at=NOW, requested_at=NOW - 30)) == []
    assert told(lease(granted_at=NOW - HOUR, requested_at=NOW - 2 * HOUR)) == []
    assert told(lease(granted_at=NOW, requested_at=NOW - HOUR, is_ready=False)) == []
    assert told(lease(granted_at=None)) == []


def test_the_end_of_a_session_is_told_a_quarter_of_an_hour_before():
    assert told(lease(ends_at=NOW + 15 * MINUTE + 1, ends_because="session")) == []
    (one,) = told(lease(ends_at=NOW + 15 * MINUTE, ends_because="session", server="training"))
    assert (one.kind, one.due_at) == ("end", NOW + 15 * MINUTE)
    assert one.sentence == (
        "1x H100 (training) stops at 12:15: the session ends. Save your work. It can be extended."
    )


def test_a_session_that_may_not_be_longer_is_not_said_to_be_extendable():
    ends_at = NOW + 5 * MINUTE
    (one,) = told(lease(ends_at=ends_at, ends_because="session", latest_end=ends_at))
    assert "extended" not in one.sentence


def test_a_short_session_is_not_told_of_its_end_as_it_begins():
    short = {"granted_at": NOW, "requested_at": NOW, "ends_at": NOW + 10 * MINUTE, "ends_because": "session"}
    assert told(lease(**short)) == []
    assert [one.kind for one in told(lease(**short), now=NOW + 5 * MINUTE)] == ["end"]


def test_an_extended_session_is_told_of_its_new_end_and_no_longer_of_the_old_one():
    (before,) = told(lease(ends_at=NOW + 5 * MINUTE, ends_because="session"))
    later = lease(ends_at=NOW + HOUR, ends_because="session")
    assert over([notice(before)], state(later)) == [notice(before)]
    (after,) = told(later, now=NOW + 50 * MINUTE)
    assert after.subject != before.subject


def test_a_machine_that_ends_for_its_budget_says_so_at_once():
    (one,) = told(lease(granted_at=NOW, requested_at=NOW, ends_at=NOW + 10 * MINUTE, ends_because="budget"))
    assert one.kind == "budget" and "because the budget is used up" in one.sentence


def test_a_lost_gpu_is_told_to_its_holder_until_it_is_back():
    (one,) = told(lease(), lost=["GPU-0", "GPU-1"])
    assert one.kind == "lost" and "It fell off the bus." in one.sentence
    assert over([notice(one)], state(lease(), lost=["GPU-0"])) == []
    assert over([notice(one)], state(lease())) == [notice(one)]


def test_what_is_about_a_lease_ends_with_it():
    about = [subject(first, 7, "x") for first in ("free", "ask", "idle", "lost", "end")]
    notices = [Notice(1, "ada", "", "any", one, "", NOW) for one in about]
    assert over(notices, state()) == notices
    assert [one.subject for one in over(notices, state(lease(ends_at=5.0), lost=["x"]))] == [
        "lost 7 x",
        "end 7 x",
    ]


def test_a_subject_fits_its_column_however_long_names_are():
    one, other = (subject("ask", 7, "a" * 255, number) for number in (1, 2))
    assert len(one) == len(other) == 255 and one != other


# --- budgets -------------------------------------------------------------------------------------------

ALONE, TOGETHER = parse_rules(
    [
        {"budget": {"gpu_hours": 100}},
        {"groups": ["lab-b"], "together": True, "budget": {"cost": 50}},
    ]
)
TERM = Term("November 2026", NOW - 20 * 86400, NOW + 8 * 86400)


def test_a_budget_is_told_at_80_and_at_100_percent():
    def kinds(used):
        return [one.subject.split()[1] for one in of_budgets("ada", [Spent(ALONE, "ada", used, TERM)])]

    assert (kinds(79.9), kinds(80.0), kinds(99.9), kinds(100.0)) == ([], ["80"], ["80"], ["100"])


def test_the_sentences_name_the_budget():
    (mine,) = of_budgets("ada", [Spent(ALONE, "ada", 81.0, TERM)])
    (ours,) = of_budgets("ada", [Spent(TOGETHER, "lab-b", 45.0, TERM)])
    assert mine.sentence == "81 % of your budget for November 2026 are used: 81.0 of 100.0 GPU-hours."
    assert ours.sentence == "90 % of the budget of lab-b together for November 2026 are used: 45.0 of 50.0."


def test_each_term_and_each_user_is_told_anew():
    later = Term("December 2026", TERM.end, TERM.end + 31 * 86400)
    subjects = {
        one.subject
        for user in ("ada", "ben")
        for term in (TERM, later)
        for one in of_budgets(user, [Spent(TOGETHER, "lab-b", 50.0, term)])
    }
    assert len(subjects) == 4
