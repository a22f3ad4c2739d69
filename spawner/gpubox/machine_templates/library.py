"""The hub's templates: what is asked of them, by people and by starts. Lives on the hub's event loop.

Whoever asks is an `Actor`, for whom the service or the command line vouches; what they may do is decided
here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..engines import EngineError
from ..refusal import PoolRefusal
from ..rules import rule_for
from . import (
    EVERYONE,
    SHARE_KINDS,
    Actor,
    NoSuchTemplate,
    NotAllowed,
    Share,
    Template,
    Version,
    check_name,
    check_note,
    rights,
    split_reference,
)
from .moving import TemplateMoves
from .saving import Save
from .storage import Kept, Looked, TemplateStorage
from .store import TemplateStore

if TYPE_CHECKING:
    from ..engines.images import TemplateImages
    from ..engines.transfer import Transfers
    from ..hub import GPUHub
    from ..spawner import GPUSpawner

log = logging.getLogger(__name__)
T = TypeVar("T")

# A save is disk work: more side by side makes each of them slower.
_SAVES_AT_ONCE = 2
_QUESTIONS_AT_ONCE = 4
# How far one is, is told so often at most: each time the hub's whole state is put together.
_TELL_SECONDS = 0.5


class TemplateLibrary:
    """Templates of one hub."""

    def __init__(self, hub: GPUHub, store: TemplateStore, storages: Mapping[str, TemplateStorage]) -> None:
        """``storages`` by the engine's name in machine types; the hub's own has none."""
        self._hub = hub
        self.store = store
        self._storages = storages
        self.saves: dict[str, Save] = {}
        self.moves = TemplateMoves(hub, self)
        # Grows with every change of a record; another run of the hub counts on from elsewhere.
        self._revision = int(time.time())
        self._threads = ThreadPoolExecutor(_SAVES_AT_ONCE, thread_name_prefix="gpubox-save")
        self._asking = ThreadPoolExecutor(_QUESTIONS_AT_ONCE, thread_name_prefix="gpubox-templates")
        self._followed: set[asyncio.Future[Any]] = set()

    async def open(self) -> None:
        """Clear away what saves have left that a killed hub did not end."""
        for storage in self._storages.values():
            try:
                if left := await self.ask_engine(storage.sweep):
                    log.warning(
                        "%d saves were cut short when the hub ended; nothing is left of them.", left
                    )
            except EngineError as error:
                log.warning("What unfinished saves of templates left could not be removed: %s", error)

    # --- what those who watch are told ---------------------------------------------------------------

    def news(self) -> dict[str, Any]:
        """The part of the hub's state that is about templates: ``revision`` is another one whenever
        `overview` may be, and ``saves`` tells how far each save is."""
        saves = [
            save.as_dict() for save in self.saves.values() if save.kind == "save" and not save.is_old_news
        ]
        return {"revision": self._revision, "saves": saves}

    def changed(self) -> None:
        """A record is another one: whoever watches is told."""
        self._revision += 1
        self._hub.tell_watchers()

    # --- who has what ------------------------------------------------------------------------------

    async def overview(self, actor: Actor) -> dict[str, Any]:
        """The templates that they may see, their saves under way, and how much room they have."""
        templates = await self._hub.ask(self.store.all)
        seen = [told for template in templates if (told := rights.seen_by(template, actor))]
        used = sum(template.size_bytes for template in templates if template.owner == actor.name)
        rule = self._quota(actor)
        return {
            "templates": seen,
            "saves": [save.as_dict() for save in self._jobs(actor) if save.kind == "save"],
            "used_bytes": used,
            "limit_bytes": rule and rule[0],
        }

    def jobs(self, actor: Actor) -> list[dict[str, Any]]:
        """Their saves, and what moves to other hubs or from them, under way and of the last quarter of an
        hour."""
        return [save.as_dict() for save in self._jobs(actor)]

    def _jobs(self, actor: Actor) -> list[Save]:
        self.saves = {key: save for key, save in self.saves.items() if not save.is_old_news}
        return [save for save in self.saves.values() if actor.is_admin or save.owner == actor.name]

    async def choose(self, reference: str, actor: Actor | None) -> tuple[Template, Version]:
        """The version to start from; where none is named, the newest. Actor None is the admin's own choice.

        Raises `NoSuchTemplate`; of one that is not shared with them it tells nothing else.
        """
        owner, name, number = split_reference(reference)
        template = await self._hub.ask(self.store.find, owner, name)
        versions = template.versions if actor is None else rights.startable(template, actor)
        found = [version for version in versions if number in (None, version.number)]
        if not found:
            which = f" version {number} of" if versions else ""
            raise NoSuchTemplate(f"There is no{which} template {owner}/{name}.")
        return template, found[-1]

    async def _managed(self, reference: str, actor: Actor) -> Template:
        owner, name, _ = split_reference(reference)
        template = await self._hub.ask(self.store.find, owner, name)
        if not rights.manages(template, actor):
            if not rights.startable(template, actor):
                raise NoSuchTemplate(f"There is no template {owner}/{name}.")
            raise NotAllowed(
                f"{template.reference} is {template.owner}'s: only they may change it, or an admin."
            )
        return template

    # --- save --------------------------------------------------------------------------------------

    async def save(self, actor: Actor, owner: str, server: str, name: str, note: str) -> dict[str, Any]:
        """Begin to save a running machine as a template of its user. Raises `PoolRefusal`, `NotAllowed`."""
        check_name(name)
        note = check_note(note)
        if owner != actor.name and not actor.is_admin:
            raise NotAllowed("That machine is not yours: ask its user to save it.")
        spawner = dict(self._hub.spawners()).get((owner, server))
        if spawner is None or not spawner.ready:
            raise PoolRefusal("That machine does not run; start it, then save it.", "not_held")
        storage = self._storage(spawner.machine.engine if spawner.machine else "")
        if any(
            one.ended_at is None and (one.kind, one.owner, one.server) == ("save", owner, server)
            for one in self.saves.values()
        ):
            raise PoolRefusal("This machine is being saved already.", "saving")
        save = Save(owner, server, name)
        self.saves[save.id] = save
        save.task = asyncio.create_task(self._save(storage, save, spawner, actor, note))
        save.task.add_done_callback(lambda task: self.changed())
        self.changed()
        return save.as_dict()

    async def _save(
        self, storage: TemplateStorage, save: Save, spawner: GPUSpawner, actor: Actor, note: str
    ) -> None:
        box, machine, base = spawner.box_id, spawner.machine, spawner.template_reference
        try:
            found = await self.ask_engine(storage.look, box)
            save.size_bytes, save.secrets = found.size_bytes, found.secrets
            self._hub.tell_watchers()
            await self._check_room(save, actor)
            kept = await self._keep(storage, found, save, base or found.base)
            if kept.size_bytes > save.size_bytes:
                save.size_bytes = kept.size_bytes
                await self._check_room_of(storage, kept, save, actor)
            version = await self._hub.ask(
                lambda: self.store.add_version(
                    save.owner,
                    save.name,
                    note,
                    time.time(),
                    image=kept.name,
                    base=base or found.base,
                    machine=machine.name if machine else "",
                    size_bytes=kept.size_bytes,
                    secrets=list(kept.secrets),
                    cleared=not kept.secrets,
                    engine=machine.engine if machine else "",
                )
            )
            save.secrets = kept.secrets
        except asyncio.CancelledError:
            save.end("cancelled", "Cancelled. Nothing was kept.")
        except PoolRefusal as error:
            save.end("failed", str(error))
        except EngineError as error:
            log.error("%s's machine could not be saved as %s: %s", save.owner, save.name, error)
            save.end("failed", str(error))
        except Exception:
            log.exception("%s's machine could not be saved as %s.", save.owner, save.name)
            save.end("failed", "Something went wrong, so nothing was kept; the hub's log has the details.")
        else:
            save.version, save.size_bytes = version.number, version.size_bytes
            save.end("done", f"Saved as version {version.number} of {save.name}.")
            log.info("%s saved %s, version %d.", save.owner, save.name, version.number)

    async def _keep(self, storage: TemplateStorage, found: Looked, save: Save, base: str) -> Kept:
        loop, told_at = asyncio.get_running_loop(), 0.0

        def say(words: str) -> None:
            nonlocal told_at
            save.words = words
            if time.monotonic() - told_at >= _TELL_SECONDS:
                told_at = time.monotonic()
                loop.call_soon_threadsafe(self._hub.tell_watchers)

        save.say("Waiting for its turn")
        keeping = asyncio.ensure_future(self.on_thread(storage.keep, found, save.id, base, say))
        try:
            return await asyncio.shield(keeping)
        except asyncio.CancelledError:
            # The engine cannot be called back: what it makes is removed when it has been made.
            self._follow(asyncio.ensure_future(self._undo(storage, keeping)))
            raise

    async def _check_room_of(self, storage: TemplateStorage, kept: Kept, save: Save, actor: Actor) -> None:
        """The same once it is there: of a disk, only that tells its size."""
        try:
            await self._check_room(save, actor)
        except PoolRefusal:
            await self.ask_engine(storage.remove, kept.name)
            raise

    async def _undo(self, storage: TemplateStorage, keeping: asyncio.Future[Kept]) -> None:
        try:
            kept = await keeping
            await self.ask_engine(storage.remove, kept.name)
        except (PoolRefusal, EngineError) as error:
            log.info("A save that was cancelled ended with: %s", error)

    async def cancel(self, actor: Actor, save: str) -> None:
        """End a save under way. Raises `NoSuchTemplate`."""
        found = self.saves.get(save)
        if found is None or not (actor.is_admin or found.owner == actor.name):
            raise NoSuchTemplate("There is no such save.")
        if found.task is not None:
            found.task.cancel()
            await asyncio.wait({found.task})

    async def _check_room(self, save: Save, actor: Actor) -> None:
        limit = self._quota(Actor(save.owner, actor.groups if actor.name == save.owner else frozenset()))
        if limit is None:
            return
        used = await self._used(save.owner)
        if used + save.size_bytes > limit[0]:
            raise PoolRefusal(
                f"This would take {_gb(save.size_bytes)}, and your templates take {_gb(used)} of the"
                f" {_gb(limit[0])} that you may have. Delete one that you need no more. {limit[1]}".strip(),
                "over_quota",
            )

    async def room(self, owner: Actor) -> int | None:
        """How many bytes their templates may still take; None for no limit."""
        limit = self._quota(owner)
        return None if limit is None else max(0, limit[0] - await self._used(owner.name))

    async def _used(self, owner: str) -> int:
        templates = await self._hub.ask(self.store.all)
        return sum(template.size_bytes for template in templates if template.owner == owner)

    def _quota(self, actor: Actor) -> tuple[int, str] | None:
        rules = self._hub.parsed_rules
        rule = rule_for(rules, actor.name, actor.groups, lambda rule: rule.templates_mib)
        return None if rule is None else ((rule.templates_mib or 0) * 2**20, rule.words)

    # --- change, share, delete ---------------------------------------------------------------------

    async def describe(self, actor: Actor, template: str, name: str, note: str) -> None:
        """Give a template another name and note."""
        found = await self._managed(template, actor)
        if name != found.name:
            self._check_not_official(found)
        await self._hub.ask(self.store.describe, found.id, check_name(name), check_note(note))
        self.changed()

    async def share(self, actor: Actor, template: str, kind: str, name: str, accept: bool) -> None:
        """Share all versions with a user, a group or everyone.

        ``accept`` says that what looks like a secret is none; else `PoolRefusal` (``secrets``) has the paths.
        """
        found = await self._managed(template, actor)
        share = _share(kind, name)
        paths = sorted(
            {path for version in found.versions if not version.cleared for path in version.secrets}
        )
        if paths and not accept:
            shown = ", ".join(paths[:10]) + (f" and {len(paths) - 10} more" if len(paths) > 10 else "")
            raise PoolRefusal(
                f"These look like secrets, and whoever starts from the template can read them: {shown}."
                " Delete them and save again, or share it all the same.",
                "secrets",
            )
        await self._hub.ask(lambda: self.store.share(found.id, share, clear=accept))
        self.changed()
        log.info("%s shares %s with %s.", actor.name or "The command line", found.reference, name or kind)

    async def unshare(self, actor: Actor, template: str, kind: str, name: str) -> None:
        """Share it with somebody no more; what they have started goes on."""
        found = await self._managed(template, actor)
        await self._hub.ask(self.store.unshare, found.id, _share(kind, name))
        self.changed()

    async def clear(self, actor: Actor, template: str) -> None:
        """What looks like a secret is none, says whoever manages the template: those with whom it is shared
        see these versions, too."""
        found = await self._managed(template, actor)
        await self._hub.ask(self.store.clear, found.id)
        self.changed()
        log.info("%s says that nothing in %s is a secret.", actor.name or "The command line", found.reference)

    async def remove(self, actor: Actor, template: str) -> None:
        """Delete a version, or with none named all of them. Raises `PoolRefusal` where a machine uses it."""
        found = await self._managed(template, actor)
        _, _, number = split_reference(template)
        versions = [version for version in found.versions if number in (None, version.number)]
        if not versions:
            raise NoSuchTemplate(f"There is no version {number} of {found.reference}.")
        if len(versions) == len(found.versions):
            self._check_not_official(found)
        for version in versions:
            await self._check_unused(found, version)
        for version in versions:
            try:
                await self.ask_engine(self._storage(version.engine).remove, version.image)
            except EngineError as error:
                raise PoolRefusal(str(error), "engine") from error
            await self._hub.ask(self.store.remove_version, found.id, version.number)
            self.changed()
            log.info("Version %d of template %s is deleted.", version.number, found.reference)

    async def _check_unused(self, template: Template, version: Version) -> None:
        reference = f"{template.reference}:{version.number}"
        starting = [
            f"{user}/{server}" if server else user
            for (user, server), spawner in self._hub.spawners()
            if spawner.active and spawner.template_reference == reference
        ]
        try:
            using = starting or await self.ask_engine(self._storage(version.engine).users_of, version.image)
        except EngineError as error:
            raise PoolRefusal(str(error), "engine") from error
        if using:
            raise PoolRefusal(
                f"{reference} is in use: {', '.join(sorted(using))}. Delete it when that has been stopped; a"
                " machine that is kept needs it until it is started afresh or deleted.",
                "in_use",
            )

    def _check_not_official(self, template: Template) -> None:
        for machine in self._hub.machines:
            if machine.template and split_reference(machine.template)[:2] == (template.owner, template.name):
                raise PoolRefusal(
                    f"{machine.title} starts from {template.reference}: the admin has to change that first.",
                    "in_use",
                )

    async def prune(self, *, really: bool) -> list[str]:
        """Images of templates that have no record any more; removed where that is ``really`` wanted."""
        if not self._storages:
            self._storage("")
        recorded = {
            one.image for template in await self._hub.ask(self.store.all) for one in template.versions
        }
        pruned: list[str] = []
        for storage in self._storages.values():
            found = await self.ask_engine(storage.unrecorded, recorded | self._under_way(storage))
            for image in found if really else ():
                await self.ask_engine(storage.remove, image)
            pruned += found
        return pruned

    def _under_way(self, storage: TemplateStorage) -> set[str]:
        return {storage.name_of(save.id) for save in self.saves.values() if save.ended_at is None}

    def transfers(self) -> Transfers:
        """What moves images. Raises `PoolRefusal` where there is no engine."""
        from ..engines.transfer import Transfers  # what decides imports no engine, until one is asked for

        return Transfers(cast("TemplateImages", self._storage("")))

    # --- threads -----------------------------------------------------------------------------------

    def _storage(self, engine: str) -> TemplateStorage:
        found = self._storages.get(engine)
        if found is None:
            raise PoolRefusal(
                "This hub has virtual machines no more: they are in none of its machine types."
                if engine
                else "Machines of this hub cannot be saved: they run in no container.",
                "engine",
            )
        return found

    async def ask_engine(self, function: Callable[..., T], *args: Any) -> T:
        """Call what an engine does soon, whatever is being saved meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._asking, function, *args)

    async def on_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Call what blocks for as long as a disk takes; when its turn comes."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def _follow(self, task: asyncio.Future[Any]) -> None:
        self._followed.add(task)
        task.add_done_callback(self._followed.discard)


def _share(kind: str, name: str) -> Share:
    if kind not in SHARE_KINDS:
        raise PoolRefusal(f"Share with: {', '.join(SHARE_KINDS)}; not with {kind!r}.", "share")
    if kind == EVERYONE:
        return Share(kind)
    if not name or len(name) > 255 or not name.isprintable():
        raise PoolRefusal(f"Which {kind}? Name one.", "share")
    return Share(kind, name)


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
