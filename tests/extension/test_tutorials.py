"""Tutorials in the launcher: a click copies one to the person's own files, once, and opens the copy."""

import json
import re
import shutil

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from fixtures.jupyter import TREE, JupyterServer

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

NAME = "01-first-gpu-notebook.ipynb"


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab whose home has the tutorials as in a box: a link to a folder that cannot be written."""
    originals = tmp_path / "image"
    shutil.copytree(TREE / "images" / "tutorials", originals)
    for file in originals.iterdir():
        file.chmod(0o444)
    home = tmp_path / "home"
    home.mkdir()
    (home / "tutorials").symlink_to(originals)
    server = JupyterServer(home, None)
    yield server.start()
    server.stop()


def open_tutorial(page, lab):
    """Come back to JupyterLab and click the first tutorial."""
    page.goto(f"{lab.url}lab?reset&token={lab.token}")
    section = page.locator(".jp-Launcher-section").filter(has=page.get_by_role("heading", name="Tutorials"))
    section.get_by_text("First GPU notebook").click()
    expect(page.locator(".jp-Notebook")).to_be_visible()
    expect(page.get_by_text(re.compile(r"\| Idle$"))).to_be_visible()


def test_a_click_opens_a_copy_of_ones_own(lab, page):
    open_tutorial(page, lab)

    copy = lab.home / "my-tutorials" / NAME
    original = lab.home / "tutorials" / NAME
    assert json.loads(copy.read_text())["cells"] == json.loads(original.read_text())["cells"]
    expect(page.get_by_role("tab", name=NAME)).to_be_visible()


def test_the_second_click_opens_what_one_made_of_it(lab, page):
    open_tutorial(page, lab)
    copy = lab.home / "my-tutorials" / NAME
    notebook = json.loads(copy.read_text())
    notebook["cells"] = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "What I learnt"}]
    copy.write_text(json.dumps(notebook))

    open_tutorial(page, lab)

    expect(page.locator(".jp-Notebook").get_by_role("paragraph")).to_have_text("What I learnt")
    assert [file.name for file in copy.parent.iterdir() if file.suffix == ".ipynb"] == [NAME]


def test_where_there_are_none_the_launcher_has_no_such_section(tmp_path, page):
    server = JupyterServer(tmp_path, None).start()
    try:
        page.goto(f"{server.url}lab?token={server.token}")
        expect(page.get_by_role("heading", name="Notebook")).to_be_visible()
        page.wait_for_load_state("networkidle")
        expect(page.get_by_role("heading", name="Tutorials")).to_have_count(0)
    finally:
        server.stop()
