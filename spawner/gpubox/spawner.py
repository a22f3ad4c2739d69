"""GPUSpawner: what every engine shares around a start and a stop.

A plain mixin in front of a stock spawner (JupyterHub asks every Spawner subclass for start, stop
and poll at once, so it is none itself). It chooses the machine type, gets the lease, tells the
story of the start, waits for the server and gives the lease back. Running is ``super()``'s
business; which GPU is ``pool``'s.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import SpawnException
from jupyterhub.utils import maybe_future, url_path_join
from tornado.web import HTTPError
from traitlets import Dict, List, Unicode, default, observe

from .engines import EngineError, KeptMachine
from .engines.hooks import EngineHooks
from .form import Card, cards, render_options_form, template_choices
from .hub import GPUHub, hub_for
from .ledger import Lease
from .machine_templates import Actor, NoSuchTemplate, Template, Version
from .machines import MachineType, duration_words, parse_duration
from .progress import StartStory, waiting_message
from .refusal import PoolRefusal

_READY_POLL_SECONDS = 0.02
_ALIVE_POLL_SECONDS = 1.0
# The form does not wait longer for what another engine keeps.
_KEPT_SECONDS = 1.5
_VIRTUAL = "a virtual machine"


class GPUSpawner(EngineHooks):
    """Mixin that gives a stock spawner machine types and leased GPUs."""

    machines = List(
        Dict(),
        help="""The machine types on offer, one dict each.

        Fields: ``title`` (what users see), ``name`` (short, for the API; from the title by
        default), ``description``, ``gpu`` (a model, such as "H100" or "Quadro P5000"), ``count``,
        ``sharing`` ("exclusive", "shared: N" or "mig: 1g.10gb"; for a virtual machine "vgpu: N x TYPE" or
        "sriov: N"), ``cpus``, ``memory``, ``shm`` (the size of /dev/shm), ``pids``, ``disk`` (a note),
        ``image``, ``template`` (one to start from in place of the image), ``root`` (True lets its user
        become root in it), ``persistent`` (True: what was installed in it is there again at the next start),
        ``price`` (an hour), ``time_limit``, ``groups`` (who may start it; everyone by default) and ``engine``
        ("libvirt" for a virtual machine; by default it is run as the hub's own engine does).

        Empty: derived from the GPUs found. A wrong entry stops the hub at start. Example::

            c.GPUSpawner.machines = [
                {"title": "CPU", "cpus": 4, "memory": "16G"},
                {"title": "1x H100", "gpu": "H100", "cpus": 16, "memory": "128G", "shm": "32G",
                 "price": 2.5, "time_limit": "24h"},
                {"title": "Quarter of an A100", "gpu": "A100", "sharing": "shared: 4"},
                {"title": "1/7 of an A100", "gpu": "A100", "sharing": "mig: 1g.10gb",
                 "groups": ["students"]},
            ]
        """,
    ).tag(config=True)

    shutdown_choices = List(
        Unicode(),
        ["1h", "6h", "12h", "1d", "3d", "1w", "never"],
        help="""For how long people may ask for a machine when they start it: it is stopped then, after a
        notice.

        Offered as far as machine type and rules allow; without ``never`` the longest of them is the most
        that anybody gets. Empty: nothing is offered. Example::

            c.GPUSpawner.shutdown_choices = ["1h", "6h", "1d"]
        """,
    ).tag(config=True)

    currency = Unicode(
        "$",
        help="""The sign or code before prices. Example::

            c.GPUSpawner.currency = "€"
        """,
    ).tag(config=True)

    @default("options_form")
    def _default_options_form(self) -> Callable[..., Any]:
        return type(self).render_form

    @default("options_from_form")
    def _default_options_from_form(self) -> Callable[..., Any]:
        return self.read_form

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Callable[..., None]:
        # The choice is looked up by value when the server starts and never written into a trait;
        # JupyterHub warns where nothing handles it.
        return lambda spawner, options: None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if JupyterHub.initialized():
            hub_for(type(self), self.config)
            self._is_known = True
            self._join_engine()

    # --- state of one start ----------------------------------------------------------------------

    _story: StartStory | None = None
    _ticket: int | None = None  # the lease or ticket that this object asked for
    _machine: MachineType | None = None
    _lease: Lease | None = None
    _template: tuple[Template, Version] | None = None
    _started_from = ""  # the same as owner/name:version, also after a restart of the hub
    _contents = ""  # what the image of this start holds, in words
    _has_boot_slot = False
    _undoing: asyncio.Task[None] | None = None
    _is_known = False  # to the hub, which tells what engine serves a machine type

    @property
    def gpuhub(self) -> GPUHub:
        """The pool and rounds of this hub process."""
        return hub_for(type(self), self.config)

    @property
    def machine(self) -> MachineType | None:
        """The machine type of the running or starting server."""
        return self._machine or self.gpuhub.machine(self.user_options.get("machine", ""))

    @property
    def lease(self) -> Lease | None:
        """The lease that the running or starting server holds."""
        return self._lease

    @property
    def template_reference(self) -> str:
        """The template that the server was or is started from, as owner/name:version; empty for none."""
        return self._started_from

    @property
    def trouble(self) -> str:
        """A sentence for the holder where a GPU of the running server is lost; else empty."""
        found = self.gpuhub.inventory
        if self._lease is None or not found.answered:
            return ""
        problems = {gpu.uuid: gpu.problem for gpu in found.gpus}
        for uuid in self._lease.gpus:
            problem = problems.get(uuid, "The driver no longer lists it.")
            if problem:
                return f"A GPU of this machine is lost: {problem} Save your work, then stop the machine."
        return ""

    @property
    def is_settling(self) -> bool:
        """Whether a cancelled start is still being undone."""
        return self._undoing is not None and not self._undoing.done()

    @property
    def story(self) -> StartStory:
        """What the waiting page is told."""
        if self._story is None:
            self._story = StartStory(self.gpuhub.timings.add)
        return self._story

    @observe("user_options")
    def _follow_user_options(self, change: object) -> None:
        if self._is_known:
            self._join_engine()

    def _join_engine(self) -> None:
        """Become a server of the engine that the chosen machine type names.

        JupyterHub makes the object before it knows what it is to start, sets the user's options on it, and
        only then reads any option of a start from it.
        """
        if self.orm_spawner is None:
            return  # nobody's, made to ask one engine
        engine = self.gpuhub.engine_of(self._wanted_machine())
        if type(self) is engine:
            return
        for name in self.traits(config=True):
            self._trait_values.pop(name, None)  # the other engine's
        self.__class__ = engine
        self._load_config(self.config, section_names=engine.section_names())

    def _wanted_machine(self) -> MachineType | None:
        try:
            return self.choose_machine()
        except SpawnException:  # the start says why; what is left of an earlier one is still to be found
            return self.gpuhub.machine(str(self.user_options.get("machine", "")))

    # --- the form --------------------------------------------------------------------------------

    async def machine_cards(self) -> tuple[Card, ...]:
        """The machine types with live figures, as this user may see them."""
        hub = self.gpuhub
        available = {machine.name: await hub.ask(hub.pool.availability, machine) for machine in hub.machines}
        contents = {machine.name: await self._contents_of(machine) for machine in hub.machines}
        longest = {machine.name: self.longest_session(machine) for machine in hub.machines}
        return cards(hub.machines, available, self._group_names(), hub.inventory.gpus, contents, longest)

    async def _contents_of(self, machine: MachineType) -> str:
        engine = self.gpuhub.engine_of(machine)
        speaker = self if isinstance(self, engine) else engine.for_reconciliation(self.config)
        return await speaker.image_contents(machine)

    def longest_session(self, machine: MachineType) -> float | None:
        """Seconds for which this user may have a machine of the type at most; None for no bound."""
        bound = self.gpuhub.pool.longest_session(self.user.name, self._group_names(), machine)
        if not self.shutdown_choices or "never" in self.shutdown_choices:
            return bound
        longest = max(parse_duration(choice) for choice in self.shutdown_choices)
        return longest if bound is None else min(bound, longest)

    def choose_session(self, machine: MachineType) -> float | None:
        """The length of session that the user's options name, in seconds; None for no end.

        Raises SpawnException with a sentence for a length that is not offered.
        """
        wanted = self.user_options.get("shutdown") or ""
        if isinstance(wanted, list):
            wanted = wanted[0] if wanted else ""
        longest = self.longest_session(machine)
        if wanted == "":
            return longest
        if wanted not in self.shutdown_choices:
            raise refusal(
                f"There is no length {str(wanted)!r} here."
                f" Choose one of: {', '.join(self.shutdown_choices)}.",
                "shutdown",
            )
        seconds = math.inf if wanted == "never" else float(parse_duration(wanted))
        if longest is not None and seconds > longest:
            raise refusal(
                f"You may have {machine.title} for {duration_words(int(longest))} at most. Choose a shorter"
                " time to stop after.",
                "too_long",
            )
        return None if seconds == math.inf else seconds

    def box_environment(self) -> dict[str, str]:
        """What tells the box what it is and costs: the head of its GPU panel (`jupyterlab_gpubox.box`)."""
        machine, lease = self.machine, self.lease
        assert machine is not None and lease is not None and lease.granted_at is not None
        facts = {
            "machine": machine.name,
            "title": machine.title,
            "contents": self._contents,
            "started": lease.granted_at,
            "ends": lease.ends_at,
            "server": self.name,
            "template": self._started_from,
            "service": self.gpuhub.service_url,
            "price_per_hour": machine.price_per_hour,
            "currency": self.currency,
            "is_shared": machine.slots_per_gpu > 1,
            "ssh": self.ssh,
            "gpus": lease.gpus,
        }
        return {"GPUBOX_BOX": json.dumps(facts)}

    @property
    def ssh(self) -> dict[str, Any] | None:
        """How to reach the server by SSH: ``user`` and ``port`` to name, ``host`` (empty: the page's own);
        None where there is no gateway."""
        options = self.gpuhub.ssh_options
        if not self.gpuhub.has_ssh or not options.port:
            return None
        user = f"{self.user.name}+{self.name}" if self.name else self.user.name
        return {"user": user, "host": options.host, "port": options.shown_port}

    def _group_names(self) -> list[str]:
        return [group.name for group in self.user.groups]

    async def render_form(self) -> str:
        """The options form with live figures, as HTML."""
        return render_options_form(
            await self.machine_cards(),
            images=self.image_choices(),
            currency=self.currency,
            selected=self.user_options.get("machine", ""),
            shutdown_choices=self.shutdown_choices,
            templates=template_choices(await self._templates()),
            template=str(self.user_options.get("template", "")),
            kept=await self._all_kept(),
        )

    async def _all_kept(self) -> list[KeptMachine]:
        """What is kept of this server, by each engine: a container and a virtual machine may be."""
        found = [await self.kept_machine()]
        try:
            found += [kept for _, kept in await asyncio.wait_for(self._kept_elsewhere(), _KEPT_SECONDS)]
        except (TimeoutError, EngineError) as error:  # the start goes on with it all the same
            self.log.warning("The form does not tell what else is kept of %s: %r", self._log_name, error)
        return [machine for machine in found if machine is not None]

    async def _kept_elsewhere(self) -> list[tuple[GPUSpawner, KeptMachine]]:
        """What other engines than this server's keep of it, with who can remove it. Raises EngineError."""
        others = [engine for engine in self.gpuhub.engines if not isinstance(self, engine)]
        found = []
        for speaker in (engine.for_reconciliation(self.config) for engine in others):
            for kept in await speaker.kept_machines(self.gpuhub.pool.hub_id):
                if (kept.user, kept.server) == (self.user.name, self.name):
                    found.append((speaker, kept))
        return found

    async def _templates(self) -> list[dict[str, Any]]:
        actor = Actor(self.user.name, frozenset(self._group_names()))
        found: list[dict[str, Any]] = (await self.gpuhub.templates.overview(actor))["templates"]
        return found

    def read_form(self, form: dict[str, list[str]]) -> dict[str, str]:
        """The user's options from the submitted form: names only, looked up at start."""
        fields = ("machine", "template", "image", "shutdown", "fresh")
        return {key: form[key][0] for key in fields if form.get(key, [""])[0]}

    def choose_machine(self) -> MachineType:
        """The machine type that the user's options name, or the first that they may start.

        Raises SpawnException with a sentence where there is none such, or not for this user.
        """
        hub = self.gpuhub
        groups = self._group_names()
        wanted = self.user_options.get("machine")
        if wanted is None:
            for machine in hub.machines:
                if machine.allows(groups):
                    return machine
            raise refusal("You may start none of the machine types here; ask the admin.", "machine")
        if isinstance(wanted, list) and wanted:  # the form's own shape, as sent by some API users
            wanted = wanted[0]
        chosen = hub.machine(str(wanted))
        if chosen is None:
            names = ", ".join(machine.name for machine in hub.machines)
            raise refusal(
                f"There is no machine type {str(wanted)!r} here. Choose one of: {names}.", "machine"
            )
        if not chosen.allows(groups):
            raise refusal(
                f"{chosen.title} is for members of {', '.join(sorted(chosen.groups))}."
                " Choose another machine type, or ask the admin to add you.",
                "not_allowed",
                403,
            )
        return chosen

    # --- around a start --------------------------------------------------------------------------

    async def run_pre_spawn_hook(self) -> None:
        """Get a lease, waiting in line where none is free: JupyterHub bounds this by no time-out.

        Raises SpawnException at once where the start cannot ever succeed.
        """
        await maybe_future(super().run_pre_spawn_hook())
        self._story = StartStory(self.gpuhub.timings.add)
        self._machine = machine = self.choose_machine()
        session_seconds = self.choose_session(machine)
        self._template, self._started_from = None, ""
        if not await self.resume(machine):
            await self._choose_template(machine)
        await self.check_can_run(machine)
        self._lease = await self._wait_for_lease(machine, session_seconds)
        self.story.tell("leased", 20, f"{machine.title} is yours; starting it")
        hub = self.gpuhub
        if hub.boot_slots.locked():
            self.story.tell("leased", 25, "Other servers are booting; yours is next")
        await hub.boot_slots.acquire()
        self._has_boot_slot = True

    async def _choose_template(self, machine: MachineType) -> None:
        """Look up what to start from. Raises SpawnException where there is no such template for this user."""
        wanted = self.user_options.get("template")
        actor = Actor(self.user.name, frozenset(self._group_names()))
        if isinstance(wanted, list):
            wanted = wanted[0] if wanted else ""
        # The admin's own choice asks for nobody's leave.
        reference, who = (str(wanted), actor) if wanted else (machine.template or "", None)
        if not reference:
            return
        if wanted and self.user_options.get("image"):
            raise refusal("Choose a template or an image: a template is an image of its own.", "template")
        try:
            self._template = template, version = await self.gpuhub.templates.choose(reference, who)
        except NoSuchTemplate as error:
            sentence = f"{error.args[0]} It was deleted, or is shared with you no more."
            raise refusal(sentence, "template") from error
        if version.engine != machine.engine:
            of, is_a = ("virtual machines", "a container") if version.engine else ("containers", _VIRTUAL)
            raise refusal(
                f"{reference} is a template of {of}, and {machine.title} is {is_a}. Choose another machine"
                " type for it.",
                "template",
            )
        self._started_from = f"{template.reference}:{version.number}"

    async def _wait_for_lease(self, machine: MachineType, session_seconds: float | None) -> Lease:
        hub = self.gpuhub
        try:
            lease = await hub.request(
                self.user.name, self.name, machine, self._group_names(), session_seconds
            )
        except PoolRefusal as error:
            raise refusal(str(error), error.reason, 503) from error
        self._ticket = lease.id
        if not lease.is_waiting:
            return lease
        self.log.info("%s waits in line for %s", self._log_name, machine.title)
        granted = hub.granted(lease)
        while not granted.done():
            await self._tell_place(lease)
            moved: asyncio.Future[Any] = asyncio.ensure_future(hub.line_moved(15))
            either: set[asyncio.Future[Any]] = {granted, moved}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                moved.cancel()
        if granted.cancelled():
            raise refusal("Your place in line was given up.", "left_line")
        return granted.result()

    async def _tell_place(self, lease: Lease) -> None:
        place = await self.gpuhub.ask(self.gpuhub.pool.place, lease.id)
        if place.position < 1:
            return  # served between the two questions
        self.story.tell(
            "waiting",
            10,
            waiting_message(place),
            place=place.position,
            waiting=place.waiting,
            estimate_seconds=place.estimate_seconds,
        )

    async def start(self) -> Any:
        """Start the server and return its address once it answers.

        Waits itself, looking every 20 ms: the hub's own check backs off up to 5 s
        (jupyterhub.utils.exponential_backoff), seconds that users would wait for nothing.
        """
        self.story.tell("creating", 30, "Creating your machine")
        starting = asyncio.ensure_future(self._start_and_wait())
        try:
            return await asyncio.shield(starting)
        except BaseException as error:
            # Cancelled by the user, or by start_timeout: what the engine was asked for may still
            # come to be. It is undone aside, because JupyterHub gives a cancel one second.
            self._undoing = asyncio.ensure_future(self._undo_start(starting))
            if isinstance(error, Exception):
                await asyncio.shield(self._undoing)
            raise
        finally:
            self._free_boot_slot()

    async def _start_and_wait(self) -> Any:
        begun = time.monotonic()
        try:
            where = await super().start()
            await self.check_gpus()
        except (SpawnException, asyncio.CancelledError):
            raise
        except Exception as error:
            sentence = self.explain_failure(error)
            if sentence is None:
                raise
            raise refusal(sentence, "engine", 503, log_message=f"{sentence} ({error})") from error
        self.story.tell("starting", 60, "Your machine runs; Jupyter is starting in it")
        # A little less than JupyterHub's limit, whose message would be empty.
        await self._until_it_answers(where, self.start_timeout - (time.monotonic() - begun) - 1)
        self.story.tell("ready", 95, "Jupyter answers")
        return where

    async def _until_it_answers(self, where: Any, timeout: float) -> None:
        if self.internal_ssl or not isinstance(where, (tuple, str)):
            return  # the hub's own check has the certificates
        base = where if isinstance(where, str) else "http://{}:{}".format(*where)
        url = url_path_join(base, self.server.base_url, "api")
        deadline = time.monotonic() + timeout
        look_alive = time.monotonic() + _ALIVE_POLL_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while not await _answers(session, url):
                if time.monotonic() > deadline:
                    raise refusal(
                        f"Your machine started, but Jupyter did not answer within {self.start_timeout}"
                        f" seconds. {await self.last_words()}".strip(),
                        "timeout",
                        504,
                    )
                if time.monotonic() > look_alive:
                    look_alive = time.monotonic() + _ALIVE_POLL_SECONDS
                    if await self.poll() is not None:
                        raise refusal(
                            f"Your machine stopped while it was starting. {await self.last_words()}".strip(),
                            "exited",
                            500,
                        )
                await asyncio.sleep(_READY_POLL_SECONDS)

    async def _undo_start(self, starting: asyncio.Future[Any]) -> None:
        """Stop and remove what a cancelled or failed start made."""
        starting.cancel()
        await asyncio.wait({starting})
        if not starting.cancelled():
            starting.exception()  # seen: it was raised to the caller, or is moot now
        try:
            await self.abandon()
        except Exception as error:
            self.log.error(
                "%s could not be cleaned up after its start ended early (%s);"
                " its lease is kept until the engine says that it does not run.",
                self._log_name,
                error,
            )

    def _free_boot_slot(self) -> None:
        if self._has_boot_slot:
            self._has_boot_slot = False
            self.gpuhub.boot_slots.release()

    async def run_post_stop_hook(self) -> None:
        """Give back what the server held; reached however it ended."""
        try:
            self._free_boot_slot()
            if self._undoing is not None:
                await asyncio.wait({self._undoing})
            await self._give_back()
        finally:
            self._machine = self._lease = self._ticket = self._undoing = self._template = None
            self._started_from = ""
            await maybe_future(super().run_post_stop_hook())

    async def _give_back(self) -> None:
        hub = self.gpuhub
        lease = await hub.open_lease(self.user.name, self.name)
        if lease is None:
            return
        if lease.is_waiting:
            # A ticket that this object did not ask for is a place kept over the hub's restart.
            if lease.id == self._ticket:
                await hub.leave_line(lease.id, "cancelled")
            return
        try:
            stopped = await self.confirm_stopped()
        except Exception as error:
            self.log.error(
                "%s keeps its lease: the engine does not say whether it runs (%s).",
                self._log_name,
                error,
            )
            return
        if stopped:
            await hub.release(lease.id, "stopped")
        else:
            self.log.error("%s keeps its lease: it still runs.", self._log_name)

    async def delete_forever(self) -> None:
        """The user or the server is deleted for good, and whatever any engine keeps of it."""
        await maybe_future(super().delete_forever())
        try:
            for speaker, kept in await self._kept_elsewhere():
                self.log.info("Deleting what was kept of %s.", self._log_name)
                await speaker.remove_kept(kept)
        except EngineError as error:  # whoever gets the name next is not given it
            self.log.error("What may be kept of %s could not be deleted: %s", self._log_name, error)

    async def rename(self, old: str, new: str) -> None:
        """Refused while something is kept: engines know it by the server's name."""
        if await self.has_kept() or await self._kept_elsewhere():
            raise HTTPError(
                409,
                "This server has a machine that is kept, which has its name. Give it a display name, or"
                " delete it first.",
            )
        await maybe_future(super().rename(old, new))

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The story of this start, for the waiting page."""
        async for event in self.story.events():
            yield event

    def get_state(self) -> dict[str, Any]:
        """Adds what the server holds, for the API (scope admin:server_state)."""
        state = super().get_state()
        if self._lease is not None:
            state["gpubox"] = {
                "lease": self._lease.id,
                "machine": self._lease.machine,
                "gpus": list(self._lease.gpus),
            }
        if self._started_from:
            state["gpubox_template"] = self._started_from
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Know again, after a restart of the hub, what the running server was started from."""
        super().load_state(state)
        self._started_from = state.get("gpubox_template", "")


def refusal(
    message: str, reason: str, status_code: int = 400, log_message: str | None = None
) -> SpawnException:
    """A start that is refused, with the sentence for the user."""
    refused = SpawnException(
        message, reason=reason, status_code=status_code, log_message=log_message or message
    )
    # What pages show; without it JupyterHub shows str(), and with that the log's message too.
    refused.jupyterhub_message = message
    return refused


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, allow_redirects=False) as response:
            return response.status < 500
    except (TimeoutError, aiohttp.ClientError, OSError):
        return False
