"""The pictures of the hub's pages in docs/images: ``PYTHONPATH=tests python tests/service/pictures.py``."""

from __future__ import annotations

import random
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from fixtures.browser import ARGUMENTS
from service.labs import NOW, State, busy_lab, day_of, shelf
from service.stage import Stage

IMAGES = Path(__file__).parents[2] / "docs/images"
NAMES = {
    "user": ["ben", "fatima", "chloé", "alice", "dmitri", "hana"],
    "group": ["vision", "language", "students"],
    "machine": ["1x H100", "2x H100", "1/7 of an A100"],
    "day": [f"2026-11-{day:02}" for day in range(1, 24)],
}


def usage(handler: Any) -> State:
    """A month in which some work at night, fewer at weekends, and somebody forgets a machine."""
    by, chance = handler.get_query_argument("by"), random.Random(11)
    rows = []
    for place, name in enumerate(NAMES[by]):
        hours = chance.uniform(60, 100) if by == "day" else 620 / (place + 1.6)
        if by == "day" and place % 7 in (0, 6):
            hours *= 0.3
        idle = hours * chance.uniform(0.04, 0.34)
        rows.append(
            {"name": name, "leases": int(hours / 7) + 1, "hours": hours * 0.8, "gpu_hours": hours}
            | {"idle_gpu_hours": idle, "measured_share": 1, "cost": 2.5 * hours, "idle_cost": 2.5 * idle}
        )
    total = {key: sum(row[key] for row in rows) for key in rows[0] if key != "name"}
    period = {"name": "November 2026", "begin": NOW, "end": NOW}
    total |= {"name": "", "measured_share": 1}
    return {"period": period, "by": by, "currency": "$", "rows": rows, "total": total}


def budgets() -> State:
    """One that warns, and one with room."""
    period = {"name": "November 2026", "begin": NOW, "end": NOW + 7 * 86400}
    vision = {"rule": 0, "who": "vision", "together": True, "used": 433.0, "limit": 500, "share": 0.866}
    student = {
        "rule": 1,
        "who": "each student",
        "together": False,
        "used": 38.4,
        "limit": 100,
        "share": 0.384,
    }
    return {
        "budgets": [
            vision | {"unit": "GPU-hours", "period": period, "at_limit": "stop", "words": ""},
            student | {"unit": "money", "period": period, "at_limit": "refuse", "words": ""},
        ]
    }


def main() -> None:
    stage, lab = Stage().open(), busy_lab()
    stage.show(lab.state, lab.figures)
    stage.answers["history"] = lambda handler: day_of(lab, handler.viewer.name)
    stage.answers |= {"usage": usage, "budgets": budgets()}
    stage.hub.answers["templates/overview"] = lambda actor: shelf(actor["name"])
    pages = ("gpus", "", "alice"), ("usage", "usage", "admin"), ("templates", "templates", "alice")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for name, path, viewer in pages:
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
            page.clock.set_fixed_time(datetime.fromtimestamp(NOW, UTC))
            page.context.add_cookies([{"name": "as", "value": viewer, "url": stage.url}])
            page.goto(stage.url + path, wait_until="load")
            page.locator(".gb-span, .gb-usage-hours, .gb-template").first.wait_for()
            page.wait_for_timeout(1000)  # bars that grow
            page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
        browser.close()
    stage.close()


if __name__ == "__main__":
    main()
