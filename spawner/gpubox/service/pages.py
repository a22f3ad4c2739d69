"""The pages: the hub's own templates, extended, with what changes filled in by their scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http.client import responses
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jupyterhub._data import DATA_FILES_PATH
from tornado.web import StaticFileHandler

from .handlers import Handler, Refusal
from .settings import HUB_ADMIN, SERVICE
from .viewer import Viewer

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"


def environment(template_paths: Sequence[str]) -> Environment:
    """Templates as the hub finds them: ours first, then its ``template_paths`` (the lab's own look among
    them), then JupyterHub's, which are also below ``templates/``."""
    stock = str(Path(DATA_FILES_PATH) / "templates")
    return Environment(
        loader=ChoiceLoader(
            [
                PrefixLoader({"templates": FileSystemLoader([stock])}, "/"),
                FileSystemLoader([str(TEMPLATES), *template_paths, stock]),
            ]
        ),
        autoescape=True,
    )


class PageHandler(Handler):
    """A page for people; who is not logged in is sent there, and comes back."""

    template = ""

    def refuse_unknown(self) -> None:
        """To the hub's log-in page."""
        self.redirect(self.get_login_url())

    async def get(self) -> None:
        self.finish(self.html(self.template))

    def html(self, template: str, **more: Any) -> str:
        """A template, filled in with what JupyterHub's own expect and what ours take."""
        hub_prefix, prefix = self.hub_auth.hub_prefix, self.service.prefix
        viewer: Viewer | None = getattr(self, "viewer", None)
        known: dict[str, Any] = {
            "base_url": hub_prefix,
            "prefix": prefix,
            "static_url": lambda path, include_version=True: f"{hub_prefix}static/{path}",
            "login_url": f"{hub_prefix}login",
            "logout_url": f"{hub_prefix}logout",
            "no_spawner_check": True,
            "parsed_scopes": {HUB_ADMIN} if viewer and viewer.is_admin else set(),
            "services": [{"name": SERVICE, "href": prefix}],
            "announcement": self.service.announcement,
            "gpubox_page": template,
            "gpubox_static": f"{prefix}static",
            "viewer": viewer,
        }
        if viewer is not None:
            escaped = json.dumps(viewer.name)[1:-1].replace("<", "\\u003c")
            known["user"] = {"name": viewer.name, "json_escaped_name": escaped}
            known["xsrf_token"] = self.xsrf_token.decode("ascii")
        return self.service.templates.get_template(template).render(known | more)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A page with a sentence; never a traceback."""
        error = kwargs.get("exc_info", (None, None))[1]
        self.finish(
            self.html(
                "error.html",
                status_code=status_code,
                status_message=responses.get(status_code, ""),
                message=getattr(error, "sentence", ""),
            )
        )


class GPUsPage(PageHandler):
    """The GPUs, who holds them, who waits."""

    template = "gpus.html"

    async def get(self) -> None:
        self.finish(self.html(self.template, state=self.service.told(self.viewer)))


class UsagePage(PageHandler):
    """Usage and bill."""

    template = "usage.html"

    async def get(self) -> None:
        state = self.service.live.state
        titles = {machine["name"]: machine["title"] for machine in state["machines"]}
        self.finish(self.html(self.template, currency=state["currency"], titles=titles))


class TemplatesPage(PageHandler):
    """Templates: one's own, and those shared with one."""

    template = "templates.html"


class KeysPage(PageHandler):
    """One's SSH keys, and how to use them."""

    template = "keys.html"


class NothingPage(PageHandler):
    """Any other address."""

    async def get(self) -> None:
        raise Refusal(404, "")


class Static(StaticFileHandler):
    """Scripts and styles: the same for everybody, and public as the hub's own are."""

    def set_extra_headers(self, path: str) -> None:
        """Looked at anew each time, which costs nothing where it did not change (ETag)."""
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")


ROUTES: list[tuple[str, type[PageHandler]]] = [
    (r"", GPUsPage),
    (r"usage", UsagePage),
    (r"templates", TemplatesPage),
    (r"keys", KeysPage),
]
