"""The usage page in a browser: sums, days, what can be taken along, budgets and rules."""

import json
import re

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from service.labs import HOSTILE, busy_lab
from service.stage import PHONE, fits

expect.set_options(timeout=PATIENCE_SECONDS * 1000)


def usage_of(handler):
    by, only = handler.get_query_argument("by"), handler.get_query_argument("user", "")
    month = handler.get_query_argument("month", "")
    if handler.get_query_argument("format", "json") == "csv":
        handler.set_header("Content-Type", "text/csv")
        handler.finish("user,gpu_hours\r\nben,60\r\n")
        return None
    names = {
        "user": ["alice", HOSTILE] if handler.viewer.is_admin else ["alice"],
        "group": ["students"],
        "machine": [f"1x H100 of {only}" if only else "1x H100"],
        "day": [f"{month}-02", f"{month}-03"],
        "month": ["2026-01"],
    }[by]
    rows = [
        {"name": name, "leases": 3, "hours": 30.0, "gpu_hours": 60.0 / place, "idle_gpu_hours": 15.0 / place}
        | {"measured_share": 1.0, "cost": 150.0 / place, "idle_cost": 37.5 / place}
        for place, name in enumerate(names, 1)
    ]
    total = {key: sum(row[key] for row in rows) for key in rows[0] if key != "name"}
    period = {"name": month or "2026", "begin": 0, "end": 1}
    return {
        "period": period, "by": by, "currency": "$", "rows": rows,
        "total": total | {"name": "", "measured_share": 1.0},
    }  # fmt: skip


@pytest.fixture
def usage(stage, look):
    stage.answers["usage"] = usage_of
    return lambda name, **options: look(name, busy_lab(), "usage", **options)


def test_an_admin_sees_everybodys_usage_and_one_person_alone(usage):
    page = usage("admin")
    rows = page.get_by_role("table").get_by_role("row")
    expect(rows).to_have_count(4)
    expect(rows.nth(1)).to_contain_text("60.0")
    expect(rows.nth(1)).to_contain_text("15.0 (25 %)")
    expect(rows.nth(3)).to_contain_text("All")
    expect(page.get_by_role("button", name=HOSTILE)).to_be_visible()
    expect(page.locator("#hit")).to_have_count(0)

    page.get_by_role("button", name="alice").click()
    expect(page.get_by_role("rowheader", name="1x H100 of alice")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_role("button", name=HOSTILE)).to_be_visible()


def test_a_user_sees_their_own_usage_alone(usage):
    page = usage("alice")
    expect(page.get_by_role("rowheader", name="1x H100")).to_be_visible()
    choices = page.get_by_role("group", name="A row for each")
    expect(choices.get_by_role("button")).to_have_text(["Machine", "Day"])
    expect(page.locator(".gb-tile").first).to_contain_text("60.0")


def test_days_are_columns_with_their_idle_part(usage):
    page = usage("alice", reduced_motion="reduce")  # columns that do not grow while they are measured
    chart = page.get_by_role("group", name="GPU-hours by day")
    used = chart.get_by_role("button", name=re.compile(r"60\.0 GPU-hours, idle 15\.0 \(25 %\)"))
    expect(used).to_have_count(1)
    busy, idle = (used.locator(f".gb-column-{part}").bounding_box()["height"] for part in ("busy", "idle"))
    assert busy == pytest.approx(3 * idle, rel=0.1)
    assert chart.get_by_role("button").count() in (28, 29, 30, 31)


def test_a_whole_year_is_shown_by_month(stage, usage):
    page = usage("alice")
    page.get_by_label("Period", exact=True).select_option(label="All of 2026")
    expect(page.get_by_role("group", name="GPU-hours by month").get_by_role("button")).to_have_count(12)
    page.get_by_role("button", name="Month", exact=True).click()
    expect(page.get_by_role("rowheader", name="2026-01")).to_be_visible()
    assert any("from=2026-01-01&to=2026-12-31&by=month" in asked for asked in stage.got)


def test_the_table_can_be_taken_along(usage):
    page = usage("admin")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.endswith("-by-user.csv")
    assert download.value.path().read_bytes() == b"user,gpu_hours\r\nben,60\r\n"
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    assert json.loads(download.value.path().read_text())["by"] == "user"


def test_budgets_and_rules_are_told(stage, usage):
    period = {"name": "November 2026", "begin": 0, "end": 1}
    budget = {
        "rule": 0,
        "who": "lab-b",
        "together": True,
        "unit": "GPU-hours",
        "period": period,
        "words": "Ask Ada.",
    }
    stage.answers["budgets"] = {
        "budgets": [
            budget | {"used": 450.0, "limit": 500.0, "share": 0.9, "at_limit": "stop"},
            budget
            | {"rule": 1, "who": "alice", "used": 120.0, "limit": 100.0, "share": 1.2, "at_limit": "refuse"},
        ]
    }
    stage.answers["rules"] = {"rules": ["You may hold <b>2</b> GPUs at once."]}
    page = usage("alice", viewport=PHONE)
    meter = page.get_by_role("meter", name="Budget of lab-b")
    expect(meter).to_have_attribute("aria-valuetext", "450 of 500 GPU-hours, 90 %")
    expect(page.get_by_text("At 100 % nothing starts, and what runs is stopped.")).to_be_visible()
    expect(page.get_by_text("It is used up: nothing new starts.")).to_be_visible()
    expect(page.get_by_text("You may hold <b>2</b> GPUs at once.")).to_be_visible()
    assert fits(page)


def test_usage_that_is_refused_is_a_sentence(stage, usage):
    page = usage("alice")
    stage.answers["usage"] = 403
    page.get_by_role("button", name="Day", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="No usage today.")).to_be_visible()


# --- over a real hub ------------------------------------------------------------------------------


@pytest.fixture
def usage_page(hub, people, new_page):
    """Opens the usage page of somebody who logs in."""

    def usage_page(name):
        page = new_page()
        page.goto(f"{hub.url}/services/gpubox/usage")
        page.get_by_label("Username:").fill(name)
        page.get_by_label("Password:").first.fill(hub.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Usage", level=1)).to_be_visible()
        return page

    return usage_page


def test_what_was_used_is_on_the_bill_of_its_user_and_of_the_admin(hub, usage_page):
    hub.run("alice", "h100")
    hub.stop("alice")

    alice, dan, admin = usage_page("alice"), usage_page("dan"), usage_page("root-of-all")

    expect(alice.get_by_role("rowheader", name="1x H100")).to_have_count(1)
    expect(dan.get_by_text("Nothing was used in this time.")).to_be_visible()
    admin.get_by_role("button", name="alice", exact=True).click()
    expect(admin.get_by_role("rowheader", name="1x H100")).to_have_count(1)
    for by in ("Group", "Day", "User"):
        admin.get_by_role("button", name=by, exact=True).click()
        expect(admin.get_by_role("columnheader", name=by, exact=True)).to_be_visible()
    with alice.expect_download() as download:
        alice.get_by_role("link", name="CSV").click()
    assert "h100" in download.value.path().read_text()
