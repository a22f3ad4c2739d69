"""Templates that move to other hubs and come from them: what `TemplateLibrary` does for admins.

A move is a `Save` of another kind: it goes on beside the question, tells how far it is and can be cancelled.
Files are the hub's machine's, so this is for the command line, which only the hub's own account may run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engines import EngineError
from ..refusal import PoolRefusal
from . import Actor, NoSuchTemplate, NotAllowed, Template, Version, check_name
from .packing import About, Cancelled
from .saving import Save

if TYPE_CHECKING:
    from ..engines.transfer import Taken, Transfers
    from ..hub import GPUHub
    from .library import TemplateLibrary

log = logging.getLogger(__name__)


class TemplateMoves:
    """Exports, imports, pushes and pulls of one hub."""

    def __init__(self, hub: GPUHub, library: TemplateLibrary) -> None:
        self._hub = hub
        self._library = library

    async def send(self, actor: Actor, template: str, path: str, target: str) -> dict[str, Any]:
        """Begin to write a template's version to a file, or to push it to a registry.

        Raises `PoolRefusal`, `NotAllowed`, `NoSuchTemplate`.
        """
        _check_admin(actor)
        found, version = await self._library.choose(template, None)
        if version.engine:
            raise PoolRefusal(
                f"{found.reference}:{version.number} is a virtual machine's disk, which moves as a file:"
                f" {version.image}.qcow2 of libvirt's pool, with virsh vol-download.",
                "engine",
            )
        transfers = self._library.transfers()
        told = _about(found, version)
        kind = "push" if target else "export"
        job = Save(found.owner, "", found.name, kind=kind)

        async def sent() -> str:
            if target:
                digest = await self._library.on_thread(transfers.push, version.image, told, target, job)
                return f"Pushed to {target}{f', as {digest}' if digest else ''}."
            job.size_bytes = await self._library.on_thread(
                transfers.export, version.image, told, _path(path), job
            )
            return f"Written to {path}."

        return self._begin(job, sent)

    async def bring(self, actor: Actor, owner: str, name: str, path: str, source: str) -> dict[str, Any]:
        """Begin to take a template in, from a file or a registry, as ``owner``'s; no name is its own.

        Raises `PoolRefusal`, `NotAllowed`.
        """
        _check_admin(actor)
        if not owner:
            raise PoolRefusal("Whose is it to be? Name a user.", "owner")
        if name:
            await self._check_new(owner, check_name(name))
        transfers = self._library.transfers()
        job = Save(owner, "", name or "template", kind="pull" if source else "import")

        async def brought() -> str:
            room = await self._library.room(Actor(owner))
            known = self._known_images()
            if source:
                asked: Any = (transfers.pull, source, job.id, room, known, job)
            else:
                asked = (transfers.take_file, _path(path), job.id, room, known, job)
            return await self._record(transfers, job, name, asked)

        return self._begin(job, brought)

    async def _record(self, transfers: Transfers, job: Save, name: str, asked: Any) -> str:
        taken: Taken = await self._library.on_thread(*asked)
        try:
            job.name = check_name(name or taken.about.name)
            await self._check_new(job.owner, job.name)
            now = time.time()
            version = await self._hub.ask(
                lambda: self._library.store.add_version(
                    job.owner,
                    job.name,
                    taken.about.note,
                    now,
                    image=taken.name,
                    base=taken.base,
                    machine=taken.about.machine,
                    size_bytes=taken.size_bytes,
                    secrets=list(taken.secrets),
                    cleared=not taken.secrets,
                    saved_at=taken.about.saved_at or now,
                )
            )
        except BaseException:
            await self._library.on_thread(transfers.forget, taken.name)
            raise
        self._library.changed()
        job.version, job.size_bytes, job.secrets = version.number, taken.size_bytes, taken.secrets
        return f"Taken in as {job.owner}/{job.name}."

    async def _check_new(self, owner: str, name: str) -> None:
        # Never another version of one that is there: those with whom it is shared would start it.
        try:
            found = await self._hub.ask(self._library.store.find, owner, name)
        except NoSuchTemplate:
            return
        raise PoolRefusal(f"There is a template {found.reference} already: give it another name.", "name")

    def _known_images(self) -> list[str]:
        """The admin's images, whose layers everybody may start anyway."""
        hub = self._hub
        named = [hub.spawner_class.base_image(hub.config), *(machine.image for machine in hub.machines)]
        return list(dict.fromkeys(filter(None, named)))

    def _begin(self, job: Save, work: Callable[[], Awaitable[str]]) -> dict[str, Any]:
        self._library.saves[job.id] = job
        job.words = "Beginning"
        job.task = asyncio.create_task(self._follow(job, work))
        return job.as_dict()

    async def _follow(self, job: Save, work: Callable[[], Awaitable[str]]) -> None:
        working = asyncio.ensure_future(work())
        try:
            words = await asyncio.shield(working)
        except asyncio.CancelledError:
            # A thread cannot be ended: it looks, and takes back what it did.
            job.unwanted.set()
            await asyncio.wait({working})
            job.end("cancelled", "Cancelled. Nothing was kept.")
        except Cancelled:
            job.end("cancelled", "Cancelled. Nothing was kept.")
        except (PoolRefusal, EngineError) as error:
            job.end("failed", str(error))
        except OSError as error:
            job.end("failed", f"{error.filename or 'The file'}: {error.strerror}.")
        except Exception:
            log.exception("The %s of %s failed.", job.kind, job.name)
            job.end("failed", "Something went wrong; the hub's log has the details.")
        else:
            job.end("done", words)
            log.info("%s of %s/%s: %s", job.kind, job.owner, job.name, words)


def _check_admin(actor: Actor) -> None:
    if not actor.is_admin:
        raise NotAllowed("Templates are moved by admins: ask one.")


def _path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise PoolRefusal(f"{text!r} is no file's full path.", "file")
    return path


def _about(template: Template, version: Version) -> About:
    return About(template.name, template.note, version.base, version.machine, version.saved_at)
