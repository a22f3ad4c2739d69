"""The standalone pages as they are served: to whom, with which headers."""

import re
from urllib.parse import urljoin

import pytest

from fixtures.parts import is_missing
from jupyterlab_gpubox.pages import STATIC

PAGES = ["gpubox/desktop", "gpubox/terminal", "gpubox/terminal/1"]


@pytest.fixture(scope="module")
def server(start_jupyter):
    if not (STATIC / "desktop.html").is_file():
        is_missing("the pages are not built (make .venv/.panel)")
    return start_jupyter()


def named_files(page):
    return re.findall(r'(?:src|href)="(?:\.\./)?desktop/static/([^"]+)"', page)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_for_who_is_logged_in(server, path):
    answer = server.ask(path, token="", allow_redirects=False)
    assert answer.status_code == 302 and "/login" in answer.headers["Location"]
    assert server.ask(path).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_the_files_that_a_page_names_are_where_it_looks_for_them(server, path):
    answer = server.ask(path)
    named = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert named
    for file in named:
        assert server.ask(urljoin(answer.url, file).removeprefix(server.url)).ok, file


def test_so_are_its_files_which_are_kept(server):
    script, _ = named_files(server.ask("gpubox/desktop").text)
    assert server.ask(f"gpubox/desktop/static/{script}", token="", allow_redirects=False).status_code == 302
    answer = server.ask(f"gpubox/desktop/static/{script}")
    assert answer.headers["Content-Type"].endswith("/javascript")
    assert "immutable" in answer.headers["Cache-Control"] and "private" in answer.headers["Cache-Control"]
    assert server.ask(f"gpubox/desktop/static/{script}", "HEAD").status_code == 200
    assert server.ask("gpubox/desktop/static/..%2froutes.py").status_code == 404


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_only_its_own_scripts_in_no_frame_and_holds_no_token(server, path):
    answer = server.ask(path)
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert server.token not in answer.text
    assert "_xsrf" in answer.cookies and answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style", answer.text)
    assert answer.headers["Cache-Control"] == "no-cache"
