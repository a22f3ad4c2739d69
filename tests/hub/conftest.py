"""What journeys through a hub's pages have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from fixtures.hub import Hub


@pytest.fixture
def visit(hub: Hub, new_page: Callable[..., Page]) -> Iterator[Callable[..., Page]]:
    """Opens a page of the module's hub as somebody who logs in for it; no script of it may fail."""
    errors: list[str] = []

    def visit(user: str, path: str, **options: Any) -> Page:
        page = new_page(**options)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(hub.url + path)
        page.get_by_label("Username:").fill(user)
        page.get_by_label("Password:").first.fill(hub.password)
        page.get_by_role("button", name="Sign in").click()
        return page

    yield visit
    assert not errors
