"""What the service and the command line ask of the hub's templates: wishes of people whom they vouch for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..machine_templates import Actor

if TYPE_CHECKING:
    from ..hub import GPUHub
    from ..machine_templates.library import TemplateLibrary

# Who asks: {"name": ..., "groups": [...], "is_admin": ...}.
_ACTOR: dict[str, type] = {"actor": dict}

FIELDS: dict[str, dict[str, type]] = {
    "overview": _ACTOR,
    "jobs": _ACTOR,
    "save": {**_ACTOR, "owner": str, "server": str, "name": str, "note": str},
    "cancel": {**_ACTOR, "save": str},
    "describe": {**_ACTOR, "template": str, "name": str, "note": str},
    "share": {**_ACTOR, "template": str, "kind": str, "name": str, "accept": bool},
    "unshare": {**_ACTOR, "template": str, "kind": str, "name": str},
    "clear": {**_ACTOR, "template": str},
    "remove": {**_ACTOR, "template": str},
    "prune": {"really": bool},
    "send": {**_ACTOR, "template": str, "path": str, "target": str},
    "bring": {**_ACTOR, "owner": str, "name": str, "path": str, "source": str},
}


class TemplateDesk:
    """Each method is a wish of ``FIELDS``; what it raises is `gpubox.machine_templates.library`'s."""

    def __init__(self, hub: GPUHub) -> None:
        self._hub = hub

    @property
    def _library(self) -> TemplateLibrary:
        return self._hub.templates

    async def overview(self, actor: dict[str, Any]) -> dict[str, Any]:
        """See `TemplateLibrary.overview`."""
        return await self._library.overview(_actor(actor))

    async def jobs(self, actor: dict[str, Any]) -> dict[str, Any]:
        """See `TemplateLibrary.jobs`."""
        return {"jobs": self._library.jobs(_actor(actor))}

    async def save(self, actor: dict[str, Any], **what: str) -> dict[str, Any]:
        """See `TemplateLibrary.save`."""
        return await self._library.save(_actor(actor), **what)

    async def cancel(self, actor: dict[str, Any], save: str) -> None:
        """See `TemplateLibrary.cancel`."""
        await self._library.cancel(_actor(actor), save)

    async def describe(self, actor: dict[str, Any], **what: str) -> None:
        """See `TemplateLibrary.describe`."""
        await self._library.describe(_actor(actor), **what)

    async def share(self, actor: dict[str, Any], template: str, kind: str, name: str, accept: bool) -> None:
        """See `TemplateLibrary.share`."""
        await self._library.share(_actor(actor), template, kind, name, accept)

    async def unshare(self, actor: dict[str, Any], **what: str) -> None:
        """See `TemplateLibrary.unshare`."""
        await self._library.unshare(_actor(actor), **what)

    async def clear(self, actor: dict[str, Any], template: str) -> None:
        """See `TemplateLibrary.clear`."""
        await self._library.clear(_actor(actor), template)

    async def remove(self, actor: dict[str, Any], template: str) -> None:
        """See `TemplateLibrary.remove`."""
        await self._library.remove(_actor(actor), template)

    async def send(self, actor: dict[str, Any], **what: str) -> dict[str, Any]:
        """See `TemplateMoves.send`."""
        return await self._library.moves.send(_actor(actor), **what)

    async def bring(self, actor: dict[str, Any], **what: str) -> dict[str, Any]:
        """See `TemplateMoves.bring`."""
        return await self._library.moves.bring(_actor(actor), **what)

    async def prune(self, really: bool) -> dict[str, Any]:
        """See `TemplateLibrary.prune`."""
        return {"images": await self._library.prune(really=really)}


def _actor(told: dict[str, Any]) -> Actor:
    return Actor(str(told["name"]), frozenset(map(str, told["groups"])), told["is_admin"] is True)
