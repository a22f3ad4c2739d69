"""The API of templates: what the hub is asked for people, in their name; openapi.json describes it.

Who may do what with which template is decided in the hub (`gpubox.machine_templates.library`); here is who
asks, and whether they may have templates at all. A machine's own token saves that machine, and does no more:
whatever runs in it is not to share or delete what its user has.
"""

from __future__ import annotations

from typing import Any

from .handlers import APIHandler, Refusal

# Longer than any that the hub takes: its sentences say which are right.
_LONGEST = 1000


class TemplateHandler(APIHandler):
    """A route that asks something of the hub's templates."""

    async def wish(self, what: str, **fields: Any) -> dict[str, Any]:
        """What the hub answers to the caller. Raises `Refusal`."""
        viewer = self.viewer
        if not viewer.may_save and not viewer.is_admin:
            raise Refusal(403, "You may not use templates here; ask the admin.")
        actor = {"name": viewer.name, "groups": sorted(viewer.groups), "is_admin": viewer.is_admin}
        return await self.ask_hub(f"templates/{what}", actor=actor, **fields)

    def check_person(self) -> None:
        """Raises `Refusal` (403) where a machine asks with its own token."""
        if self.viewer.is_box:
            raise Refusal(403, "A machine may save itself; all else is done on the hub's page Templates.")

    def words(self, *names: str) -> dict[str, str]:
        """The body's fields, which are all text; one that is not there is empty."""
        told = {name: value or "" for name, value in self.fields(**dict.fromkeys(names, str)).items()}
        if any(len(value) > _LONGEST for value in told.values()):
            raise Refusal(400, f"{_LONGEST} characters at most.")
        return told


class TemplatesHandler(TemplateHandler):
    """GET api/templates"""

    async def get(self) -> None:
        self.answer(await self.wish("overview"))


class SaveHandler(TemplateHandler):
    """POST api/templates/save: a machine of the caller's own"""

    async def post(self) -> None:
        told = self.words("server", "name", "note")
        if self.viewer.box not in (None, told["server"]):
            raise Refusal(403, "A machine may save itself, and no other one.")
        self.answer(await self.wish("save", owner=self.viewer.name, **told))


class CancelHandler(TemplateHandler):
    """POST api/templates/cancel: a machine's token ends saves of that machine"""

    async def post(self) -> None:
        told = self.words("save")
        if self.viewer.is_box:
            saves = (await self.wish("overview"))["saves"]
            if (told["save"], self.viewer.box) not in {(one["id"], one["server"]) for one in saves}:
                raise Refusal(404, "There is no such save.")
        await self.wish("cancel", **told)
        self.answer({})


class WishHandler(TemplateHandler):
    """POST api/templates/describe, unshare, clear, remove: all their fields are text"""

    FIELDS = {
        "describe": ("template", "name", "note"),
        "unshare": ("template", "kind", "name"),
        "clear": ("template",),
        "remove": ("template",),
    }

    async def post(self, what: str) -> None:
        self.check_person()
        await self.wish(what, **self.words(*self.FIELDS[what]))
        self.answer({})


class ShareHandler(TemplateHandler):
    """POST api/templates/share"""

    async def post(self) -> None:
        self.check_person()
        told = self.fields(template=str, kind=str, name=str, accept=bool)
        accept = bool(told.pop("accept"))
        await self.wish("share", accept=accept, **{name: value or "" for name, value in told.items()})
        self.answer({})


ROUTES: list[tuple[str, type[APIHandler]]] = [
    (r"api/templates", TemplatesHandler),
    (r"api/templates/save", SaveHandler),
    (r"api/templates/cancel", CancelHandler),
    (r"api/templates/share", ShareHandler),
    (rf"api/templates/({'|'.join(WishHandler.FIELDS)})", WishHandler),
]
