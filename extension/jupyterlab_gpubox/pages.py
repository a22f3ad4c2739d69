"""The standalone pages, desktop and terminal: what `jlpm build` bundled, served to who is logged in.

A page is a file. It names nobody and holds no token: the log-in's cookie is all that its script has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError, StaticFileHandler, authenticated

STATIC = Path(__file__).with_name("desktop") / "static"
_RESOURCE = "gpubox"
_YEAR_SECONDS = 365 * 24 * 3600

# No frame, not even in this server's own pages: where users have no domain each, a page of somebody else's
# server is of the same origin, and could reach into it. JupyterHub does the same; a path in frame-ancestors
# means nothing.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src {style}; img-src 'self' data: blob:; font-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# xterm.js writes the style of its letters into the page.
_STYLES = {"desktop.html": "'self'", "terminal.html": "'self' 'unsafe-inline'"}


class PageHandler(JupyterHandler):
    """GET /gpubox/desktop, /gpubox/terminal/NAME, and /gpubox/terminal/ for a new one"""

    auth_resource = _RESOURCE

    def initialize(self, file: str) -> None:
        self.file = file

    @authenticated
    @authorized
    async def get(self, *_: str) -> None:
        path = STATIC / self.file
        if not path.is_file():
            raise HTTPError(404, "This page was not built: make .venv/.panel does so, and so does the wheel.")
        self.set_header("Content-Security-Policy", _POLICY.format(style=_STYLES[self.file]))
        self.set_header("Content-Type", "text/html; charset=utf-8")
        # It names the scripts of this version; they are kept, it is not.
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("X-Content-Type-Options", "nosniff")
        # Asking for it sets the cookie that the page's own requests are checked against.
        self.xsrf_token  # noqa: B018
        await self.finish(path.read_bytes())


class NewTerminalHandler(JupyterHandler):
    """GET /gpubox/terminal: the page's files are where it looks for them from /gpubox/terminal/ on."""

    auth_resource = _RESOURCE

    @authenticated
    @authorized
    async def get(self) -> None:
        self.redirect(url_path_join(self.base_url, "gpubox/terminal/"))


class PageFilesHandler(JupyterHandler, StaticFileHandler):
    """GET /gpubox/desktop/static/FILE: a name with a hash is the same file for ever."""

    auth_resource = _RESOURCE
    _track_activity = False

    @authenticated
    @authorized
    async def get(self, path: str, include_body: bool = True) -> None:  # type: ignore[override]
        await StaticFileHandler.get(self, path, include_body)

    def set_extra_headers(self, path: str) -> None:
        """Tell browsers to keep it."""
        self.set_header("Cache-Control", f"private, max-age={_YEAR_SECONDS}, immutable")
        self.set_header("X-Content-Type-Options", "nosniff")


def page_handlers(base_url: str) -> list[tuple[str, type, dict[str, Any]]]:
    """The pages' routes, for `web_app.add_handlers`."""

    def at(path: str) -> str:
        return url_path_join(base_url, "gpubox", path)

    return [
        (at("desktop"), PageHandler, {"file": "desktop.html"}),
        (at(r"desktop/static/([\w.-]+)"), PageFilesHandler, {"path": str(STATIC)}),
        (at("terminal"), NewTerminalHandler, {}),
        (at(r"terminal/(\w*)"), PageHandler, {"file": "terminal.html"}),
    ]
