"""The API against its own document, by schemathesis, as every role: no 5xx, nothing that is not described,
and nobody changes what is not theirs."""

from importlib.resources import files

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method

DOCUMENT = schemathesis.openapi.from_path(str(files("gpubox.service") / "openapi.json"))
# Streams have no end; they have tests of their own.
ROUTES = DOCUMENT.exclude(path_regex="/events$")
SOMETIMES = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def at_stake(hub, people):
    """What belongs to alice and bob (students): a machine each; carol waits in line. By number."""
    for user in ("alice", "bob"):
        hub.run(user, "h100")
    hub.ask_for("carol", "h100")
    hub.until(lambda: len(hub.open_leases()) == 3, "carol waits")
    return {lease["user"]: lease["id"] for lease in hub.open_leases()}


def aim(case, at_stake):
    """Every other request is about something that exists."""
    for name, there in (("lease", sorted(at_stake.values())), ("notice", [1, 2])):
        number = case.path_parameters.get(name)
        if isinstance(number, int) and 0 <= number < 10**15 and number % 2 == 0:
            case.path_parameters[name] = there[number % len(there)]


def call(case, hub, token):
    return case.call_and_validate(
        base_url=f"{hub.url}/services/gpubox",
        headers={"Authorization": f"Bearer {token}"},
        # What is well formed may still not be there, or not be allowed.
        excluded_checks=[positive_data_acceptance, unsupported_method],
        timeout=60,
    )


def world(hub):
    """What nobody without a right may change."""
    return [(row["id"], row["user"], row["rank"], row["ends_at"]) for row in hub.open_leases()]


@ROUTES.parametrize()
@SOMETIMES
def test_a_stranger_changes_nothing(case, hub, people, at_stake):
    before = world(hub)
    aim(case, at_stake)
    call(case, hub, people["dan"].token)
    assert world(hub) == before


@ROUTES.parametrize()
@SOMETIMES
def test_a_wrong_token_gets_nothing(case, hub, people, at_stake):
    aim(case, at_stake)
    answer = call(case, hub, "0" * 32)
    assert answer.status_code in (400, 401, 404, 405) or case.path == "/health"
    assert b"alice" not in answer.content


@ROUTES.exclude(path_regex="/end$").parametrize()
@SOMETIMES
def test_a_group_admin_gets_no_5xx(case, hub, people, at_stake):
    aim(case, at_stake)
    call(case, hub, people["carol"].token)


@ROUTES.exclude(path_regex="/end$").parametrize()
@SOMETIMES
def test_an_admin_gets_no_5xx(case, hub, people, at_stake):
    aim(case, at_stake)
    call(case, hub, people["root-of-all"].token)


def test_the_document_is_served_as_it_is(hub, people):
    assert people["dan"].ask("GET", "openapi.json").json() == DOCUMENT.raw_schema


def test_every_route_is_in_the_document():
    """A route that nobody described would not be tested here either."""
    import re

    from gpubox.service.app import API_ROUTES

    described = {path.lstrip("/") for path in DOCUMENT.raw_schema["paths"]}
    patterns = [pattern for pattern, _ in API_ROUTES]
    concrete = {path: re.sub(r"\{\w+\}", "7", path) for path in described}
    for pattern in patterns:
        assert any(re.fullmatch(pattern, path) for path in concrete.values()), pattern
    for path, example in concrete.items():
        assert path == "health" or any(re.fullmatch(pattern, example) for pattern in patterns), path


def test_a_cookie_alone_changes_nothing(hub, people):
    """Another page in the same browser has the cookies, and not the page's own XSRF token."""
    session = requests.Session()
    form = session.get(f"{hub.url}/hub/login", timeout=10)
    session.post(
        f"{hub.url}/hub/login",
        data={"username": "dan", "password": hub.password, "_xsrf": session.cookies["_xsrf"]},
        timeout=30,
    )
    assert form.ok
    page = session.get(f"{hub.url}/services/gpubox/", timeout=10)
    assert page.ok
    assert "GPUs" in page.text
    refused = session.post(f"{hub.url}/services/gpubox/api/leases/1/end", json={}, timeout=10)
    assert refused.status_code == 401
