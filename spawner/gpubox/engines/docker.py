"""DockerSpawner with machine types and leased GPUs.

All of DockerSpawner's options keep working. What a container gets from its machine type is in
``container``; here are the calls, the engine's word on what runs, and its errors in words.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, cast

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound
from docker.utils import kwargs_from_env
from traitlets import Bool, Enum, Unicode, default
from traitlets.config import Config

from .. import hosthelper
from ..hub import configured
from ..machines import MachineType
from ..spawner import refusal
from . import Box, EngineError, container, kept
from .images import TemplateImages
from .keeping import KeepingSpawner

_ENGINE_ERRORS = (DockerException, requests.RequestException, OSError)
_CALLS_AT_ONCE = 32
# How long the engine may be silent over a call that copies a machine's changes.
_SAVE_SECONDS = 6 * 3600
_IMAGE = "gpubox/cpu:latest"


class DockerGPUSpawner(KeepingSpawner):
    """A server in a container of its own that sees the GPUs of its lease and no other."""

    gpu_attachment = Enum(
        ["auto", "cdi", "nvidia-runtime"],
        default_value="auto",
        help="""How GPUs are attached: by CDI device names, or by NVIDIA's container runtime.

        "auto" takes CDI where the engine has it (Docker 25 or newer, switched on). Example::

            c.DockerGPUSpawner.gpu_attachment = "nvidia-runtime"
        """,
    ).tag(config=True)

    run_as = Unicode(
        "1000:100",
        help="""The user and group for containers whose image names no user, or root.

        Set ``extra_create_kwargs = {"user": "root"}`` for images that need root. Example::

            c.DockerGPUSpawner.run_as = "1000:1000"
        """,
    ).tag(config=True)

    host_helper = Bool(
        True,
        help="""Run the host helper: a small container that may see this host's processes, and nothing else.

        With older NVIDIA drivers it tells a machine which of its notebooks uses the GPU; without it, that is
        estimated. It runs from the default image and starts with the first GPU machine. To do without::

            c.DockerGPUSpawner.host_helper = False
        """,
    ).tag(config=True)

    @default("image")
    def _default_image(self) -> str:
        return _IMAGE

    @default("volumes")
    def _default_volumes(self) -> dict[str, str]:
        # A volume of the user's own: what they saved outlives the container.
        return {"gpubox-home-{username}": "/home/jovyan"}

    # --- calls -----------------------------------------------------------------------------------

    # DockerSpawner has one thread and one client for all users: one slow call holds everyone.
    _threads: ThreadPoolExecutor | None = None
    _per_thread = threading.local()
    _api_version: str | None = None
    _base_image: str | None = None

    @property
    def executor(self) -> ThreadPoolExecutor:
        """Threads for calls to the engine, shared by all servers of the hub."""
        cls = DockerGPUSpawner
        if cls._threads is None:
            cls._threads = ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="gpubox-docker")
        return cls._threads

    @property
    def client(self) -> docker.APIClient:
        """This thread's own client: requests' sessions are not made for sharing."""
        local = DockerGPUSpawner._per_thread
        if getattr(local, "client", None) is None:
            local.client = self._new_client(version=DockerGPUSpawner._api_version or "auto")
            DockerGPUSpawner._api_version = local.client.api_version
        return local.client

    def _new_client(self, **options: Any) -> docker.APIClient:
        if self.tls_config:
            options["tls"] = docker.tls.TLSConfig(**self.tls_config)
        return docker.APIClient(**options | kwargs_from_env() | self.client_kwargs)

    @classmethod
    def template_storage(cls, config: Config, hub_id: str) -> TemplateImages:
        """Templates are images of the same engine."""
        spawner = cls.for_reconciliation(config)
        assert isinstance(spawner, DockerGPUSpawner)
        return TemplateImages(lambda: spawner._new_client(timeout=_SAVE_SECONDS), hub_id)

    @classmethod
    def base_image(cls, config: Config) -> str:
        """The admin's image, whatever a user chose."""
        return configured(cls, config, "image", _IMAGE)

    @property
    def box_id(self) -> str:
        """The container."""
        return str(self.container_id)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._in_flight: set[asyncio.Future[Any]] = set()

    def docker(self, method: str, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Call the engine on a thread; a call once made is followed to its end, cancelled or not."""
        call = asyncio.get_running_loop().run_in_executor(
            self.executor, partial(self._docker, method, *args, **kwargs)
        )
        self._in_flight.add(call)
        call.add_done_callback(self._in_flight.discard)
        return asyncio.shield(call)

    # --- making the container --------------------------------------------------------------------

    @property
    def box_spec(self) -> container.BoxSpec:
        """What the container to be made gets from its machine type and lease."""
        machine, lease = self.machine, self.lease
        assert machine is not None and lease is not None
        return container.BoxSpec(
            hub_id=self.gpuhub.pool.hub_id,
            user=self.user.name,
            server=self.name,
            lease_id=lease.id,
            machine=machine.name,
            gpus=lease.gpus,
            cpus=machine.cpus,
            memory_mib=machine.memory_mib,
            shm_mib=machine.shm_mib,
            pids=machine.pids,
            root=machine.root,
            binds=self._binds,
        )

    def get_env(self) -> dict[str, str]:
        """The stock environment, and what tells the box its machine."""
        spec = self.box_spec
        return {
            **container.thread_hints(spec),
            **super().get_env(),
            **container.environment(spec),
            **self.box_environment(),
        }

    def image_choices(self) -> list[str]:
        """DockerSpawner's allowed_images, where the admin offers a choice."""
        allowed = self._get_allowed_images()
        return list(allowed) if isinstance(allowed, dict) and len(allowed) > 1 else []

    async def image_contents(self, machine: MachineType) -> str:
        """What the image's label says is in it."""
        try:
            image = await self.docker("inspect_image", machine.image or self._base_image or self.image)
        except _ENGINE_ERRORS:  # the form is no place for it: the start says what is wrong
            return ""
        return container.contents(image)

    async def check_can_run(self, machine: MachineType) -> None:
        """See to it that the image is there, before anyone waits in line for a GPU."""
        if self._base_image is None:
            self._base_image = self.image
        if self._resumed:
            return
        self.image: str = self._template[1].image if self._template else machine.image or self._base_image
        chosen = self.user_options.get("image")
        image = await self.check_allowed(chosen) if chosen else self.image
        try:
            self._contents = container.contents(await self.docker("inspect_image", image))
        except ImageNotFound as error:
            await self._pull_for(machine, image, error)
        except _ENGINE_ERRORS as error:
            raise refusal(self.explain_failure(error) or str(error), "engine", 503) from error

    async def _pull_for(self, machine: MachineType, image: str, missing: ImageNotFound) -> None:
        if self._template is not None:
            raise refusal(
                f"The image of the template {self.template_reference} is gone from this machine. Choose"
                " another one, and tell the admin.",
                "image_missing",
                503,
            ) from missing
        # Images named gpubox/... are built here; asking a registry for them would only take long.
        if self.pull_policy in ("never", "skip") or image.startswith("gpubox/"):
            raise refusal(
                f"The image {image} of {machine.title} is not on this machine."
                " The admin makes it with: gpubox image build",
                "image_missing",
                503,
            ) from missing
        self.story.tell("image", 5, f"Downloading the image {image}")
        try:
            await self.pull_image(image)
        except _ENGINE_ERRORS as error:
            raise refusal(
                f"The image {image} of {machine.title} is not on this machine and could not be"
                f" downloaded: {_explanation(error)}. Tell the admin.",
                "image_missing",
                503,
            ) from error

    async def create_object(self) -> dict[str, Any]:
        """Make the container, with devices, limits and labels of its machine."""
        machine = self.machine
        assert machine is not None
        image = await self.docker("inspect_image", self.image)
        # What is kept may come to have a GPU, and gets none for good.
        needs_helper = self.box_spec.gpus or machine.persistent
        self._binds = await self._ensure_helper() if needs_helper else ()
        spec = replace(self.box_spec, gpus=()) if machine.persistent else self.box_spec
        attachment = await self._attachment() if spec.gpus else "cdi"
        call = self.docker

        has_cdi = machine.persistent and await self._spec_files() is not None

        def with_machine(method: str, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
            if method == "create_container":
                user = container.user_of(image, is_template=self._template is not None)
                kwargs = container.create_arguments(kwargs, spec, attachment, user, self.run_as)
                if machine.persistent:
                    kwargs = self.keeping_arguments(kwargs, image, machine, has_cdi=has_cdi)
            return call(method, *args, **kwargs)

        # DockerSpawner builds the arguments and makes the call in one method: the call is where
        # the machine can be added without writing it into traits.
        self.docker = with_machine  # type: ignore[method-assign]
        try:
            return await super().create_object()
        finally:
            del self.docker

    async def _attachment(self) -> container.Attachment:
        if self.gpu_attachment != "auto":
            return cast(container.Attachment, self.gpu_attachment)
        info = await self.docker("info")
        return "cdi" if info.get("CDISpecDirs") else "nvidia-runtime"

    async def get_object(self) -> dict[str, Any] | None:
        """The container's inspect record, or None if the engine says that there is none.

        Unlike the stock method, an engine that fails (500) is not taken for "gone".
        """
        try:
            found = await self.docker("inspect_container", self.object_name)
        except APIError as error:
            if error.status_code != 404:
                raise
            self.object_id = ""
            return None
        self.object_id = found[self.object_id_key]
        self._set_keeps(bool(kept.name_of(found)))
        if self._is_unfit(found):
            self.log.info("%s had another machine; it is made anew.", self.object_name)
            await self.remove_object()
            self.object_id = ""
            self._set_keeps(self._keeps_type)
            return None
        return found

    def _is_unfit(self, found: dict[str, Any]) -> bool:
        """Whether a kept, stopped container cannot serve the start that is under way."""
        if self.lease is None or not self._start_pending or found["State"]["Running"]:
            return False
        if kept.name_of(found):
            return bool(found["Id"] == self._afresh)
        return self._keeps_type or not container.is_same_machine(found, self.box_spec)

    @property
    def _keeps_type(self) -> bool:
        return self.machine is not None and self.machine.persistent

    @property
    def box_limits(self) -> dict[str, Any]:
        """The machine type's limits, as the engine's ``update`` takes them."""
        return kept.limits(container.limits(self.box_spec))

    async def check_gpus(self) -> None:
        """Look into the container for its GPUs' device nodes: some engines drop requests silently."""
        spec = self.box_spec
        if not spec.gpus:
            return
        parents = {gpu.uuid: gpu.parent or gpu.uuid for gpu in self.gpuhub.inventory.gpus}
        wanted = len({parents.get(uuid, uuid) for uuid in spec.gpus})
        listing = await self.docker(
            "exec_create", self.container_id, ["sh", "-c", "ls -d /dev/nvidia[0-9]* /dev/dxg 2>/dev/null"]
        )
        nodes = (await self.docker("exec_start", listing["Id"])).split()
        if len(nodes) < wanted and b"/dev/dxg" not in nodes:
            raise refusal(
                f"The engine started your machine with {len(nodes)} of its {wanted} GPUs, so it was"
                " stopped. Tell the admin to run: gpubox doctor",
                "gpu_not_attached",
                503,
            )

    # --- the host helper -------------------------------------------------------------------------

    _binds: tuple[str, ...] = ()
    _helper_trouble = ""

    async def look_after(self, boxes: Collection[Box]) -> None:
        """See to it that the host helper runs while a box has a GPU."""
        if any(box.running and box.gpus for box in boxes):
            await self._ensure_helper()
        try:
            await self.withdraw_unused()
        except _ENGINE_ERRORS as error:
            self.log.warning("What kept machines no longer need could not be withdrawn: %s", error)

    async def _ensure_helper(self) -> tuple[str, ...]:
        """Start the host helper where it does not run; what a box needs of it. Never fails a start."""
        if not self.host_helper:
            return ()
        hub_id = self.gpuhub.pool.hub_id
        # The admin's image, whatever this user chose: a user's own is not to see the host's processes.
        image = self.base_image(self.config)
        binds: tuple[str, ...] = ()
        trouble = ""
        try:
            await hosthelper.ensure_volume(self.docker, hub_id)
            binds = (hosthelper.mount(hub_id),)
            await hosthelper.ensure_helper(self.docker, hub_id, image)
        except _ENGINE_ERRORS as error:
            trouble = _explanation(error)
        if trouble and trouble != DockerGPUSpawner._helper_trouble:
            self.log.warning(
                "The host helper could not be started (%s): with older drivers, which notebook uses a GPU"
                " is estimated. It is tried again with every round and every start on a GPU.",
                trouble,
            )
        DockerGPUSpawner._helper_trouble = trouble
        return binds

    # --- the engine's word -----------------------------------------------------------------------

    _engine_is_silent = False

    async def poll(self) -> Any:
        """None while the server runs *or the engine does not say*; else how it ended."""
        try:
            status = await super().poll()
        except _ENGINE_ERRORS as error:
            if not self._engine_is_silent:
                self.log.warning(
                    "The engine does not say whether %s runs (%s): taken as running.",
                    self._log_name,
                    error,
                )
            self._engine_is_silent = True
            return None
        self._engine_is_silent = False
        return status

    async def get_url(self) -> str:
        """Where the server is. A hub that was killed in the middle of its start has not written that down."""
        if not self.server.ip:
            with suppress(*_ENGINE_ERRORS):
                self.server.ip, self.server.port = await self.get_ip_and_port()
        return str(self.server.url)

    async def confirm_stopped(self) -> bool:
        """Whether the engine says that the container is not running."""
        try:
            found = await self.get_object()
            if found is None or found["State"]["Running"]:
                return found is None
            await self.withdraw(found)
        except _ENGINE_ERRORS as error:
            raise EngineError(str(error)) from error
        return True

    async def abandon(self) -> None:
        """Wait for calls that cannot be recalled, then remove what they made."""
        if self._in_flight:
            await asyncio.wait(set(self._in_flight))
        found = await self.get_object()
        if found is None:
            return
        if found["State"]["Running"]:
            await self.docker("kill", self.container_id)
        # Nothing is in a machine to be kept that was never ready.
        if self.remove or self._made or found["State"]["Status"] == "created":
            await self.withdraw(found)
            await self.remove_object()
            self.object_id = ""

    async def boxes(self, hub_id: str) -> list[Box]:
        """All containers of the hub of that id."""
        try:
            listing = await self.docker(
                "containers", all=True, filters={"label": f"{container.LABEL_HUB}={hub_id}"}
            )
            return await self.with_what_they_have([container.box_from_listing(entry) for entry in listing])
        except _ENGINE_ERRORS as error:
            raise EngineError(f"the container engine: {_explanation(error)}") from error

    async def stop_box(self, box: Box) -> None:
        """Stop a container that no server claims, and remove it where containers are not kept."""
        try:
            if box.running:
                await self.docker("stop", box.id)
            if (self.remove and not box.kept) or box.unstarted:
                await self.docker("remove_container", box.id, v=True)
        except _ENGINE_ERRORS as error:
            # 404: gone already; 409: being removed, as containers made with auto_remove are.
            if not (isinstance(error, APIError) and error.status_code in (404, 409)):
                raise EngineError(f"{box.name} could not be stopped: {_explanation(error)}") from error

    async def last_words(self) -> str:
        """The last lines of the container's log."""
        try:
            lines = (await self.docker("logs", self.container_id, tail=3)).decode(errors="replace")
        except _ENGINE_ERRORS:
            return ""
        return f"Its last words: {lines.strip()}" if lines.strip() else ""

    def explain_failure(self, error: Exception) -> str | None:
        """The engine's error as a sentence with what to do."""
        words = _explanation(error)
        if "unresolvable CDI devices" in words:
            return (
                f"The engine does not know the GPU ({words}). The admin's remedy:"
                " nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
            )
        if "could not select device driver" in words or "unknown or invalid runtime" in words:
            return (
                "The engine cannot attach GPUs: neither CDI nor NVIDIA's container toolkit is set"
                " up. The admin's remedy: gpubox doctor"
            )
        if "no space left on device" in words:
            return "The disk of the container engine is full. Tell the admin: gpubox doctor"
        if isinstance(error, (requests.RequestException, OSError)):
            return "The container engine does not answer. Try again in a minute, or tell the admin."
        if isinstance(error, DockerException):
            return f"The container engine could not start your machine: {words}. Tell the admin."
        return super().explain_failure(error)


def _explanation(error: Exception) -> str:
    if isinstance(error, APIError) and error.explanation:
        return str(error.explanation).strip()
    return str(error)
