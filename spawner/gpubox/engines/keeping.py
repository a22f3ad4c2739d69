"""What a persistent machine type adds to DockerSpawner: a stop keeps the container for the next start.

How such a container is made and told its settings is in ``kept``, how it gets other GPUs in ``cdi``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import docker
from docker.errors import APIError
from dockerspawner import DockerSpawner
from jupyterhub.utils import maybe_future

from ..machines import MachineType
from ..rules import rule_for
from ..spawner import GPUSpawner, refusal
from . import Box, EngineError, KeptMachine, container, kept
from .cdi import NotDescribed, SpecFiles
from .streams import ERRORS

T = TypeVar("T")

# How long the engine may take to see a specification that was written (it watches its directories).
_SEEN_SECONDS = 15.0
_LOOK_SECONDS = 0.05
_HEARD_SECONDS = 20.0
_TRIES = 3
# The form does not wait longer for a size: the engine reads the machine's whole layer for it.
_SIZE_SECONDS = 1.5


class KeepingSpawner(GPUSpawner, DockerSpawner):
    """DockerSpawner whose container outlives its starts where the machine type is persistent."""

    _removes: bool | None = None  # what is configured for containers that are not kept
    _keeps = False  # whether the container of this start or server is a kept one
    _resumed = False  # whether the start under way goes on with what was kept
    _afresh = ""  # the kept container that the user gave up
    _made = False  # whether the start under way has made the container

    def _set_keeps(self, keeps: bool) -> None:
        self._keeps = keeps
        if self._removes is None:
            self._removes = bool(self.remove)
        self.remove: bool = self._removes and not keeps

    @property
    def will_resume(self) -> bool:
        """Whether the token lives on when the server stops: a kept machine is told a new one each time."""
        return bool(super().will_resume) and not self._keeps

    async def on_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call what blocks on a thread of the engine's."""
        return await asyncio.wrap_future(self.executor.submit(function, *arguments))

    # --- before a start --------------------------------------------------------------------------

    async def resume(self, machine: MachineType) -> bool:
        """Whether this start goes on with what was kept. Raises SpawnException where it cannot."""
        self._set_keeps(machine.persistent)
        self._resumed, self._afresh, self._made = False, "", False
        try:
            found = await self._find_kept()
            if machine.persistent and machine.count and await self._spec_files() is None:
                raise refusal(_no_cdi(machine), "kept", 503)
        except ERRORS as error:
            raise refusal(self.explain_failure(error) or str(error), "engine", 503) from error
        if found is None:
            if machine.persistent:
                await self._check_room()
            return False
        if self.gives_up(str(found["Id"])):
            self._afresh = found["Id"]
            return False
        if why := kept.misfit(found, machine):
            raise refusal(f"{why}, or start afresh, which deletes what you left.", "kept")
        if self.is_somebody_elses(kept.moment(found["Created"])):
            raise refusal(
                "What is kept here was left by an earlier account of your name. Tell the admin:"
                f" gpubox kept rm {self.server_words}",
                "kept",
            )
        self._resumed = True
        self._started_from = found["Config"]["Labels"].get(container.LABEL_TEMPLATE, "")
        self._contents = str(found["Config"]["Labels"].get(container.LABEL_CONTENTS, ""))
        self.story.tell("image", 5, "Your machine is as you left it")
        return True

    async def _check_room(self) -> None:
        """Raise SpawnException where the user keeps as much already as a rule lets them."""
        user, groups = self.user.name, self._group_names()
        rule = rule_for(self.gpuhub.parsed_rules, user, groups, lambda rule: rule.kept_mib)
        if rule is None:
            return
        labels = [
            f"{container.LABEL_HUB}={self.gpuhub.pool.hub_id}",
            f"{container.LABEL_USER}={user}",
            container.LABEL_KEPT,
        ]
        try:
            listing = await self.docker("containers", all=True, size=True, filters={"label": labels})
        except ERRORS as error:
            raise refusal(self.explain_failure(error) or str(error), "engine", 503) from error
        used = sum(entry.get("SizeRw") or 0 for entry in listing)
        if used >= (rule.kept_mib or 0) * 2**20:
            raise refusal(
                f"Machines that you keep take {used / 2**30:.1f} GiB of the {(rule.kept_mib or 0) / 1024:g}"
                f" GiB that they may, so no new one is made. Start one of them afresh, or delete it."
                f" {rule.words}".strip(),
                "over_quota",
            )

    async def _find_kept(self) -> dict[str, Any] | None:
        """The kept container of this server (an inspect record), running or not."""
        try:
            found: dict[str, Any] = await self.docker("inspect_container", self.object_name)
        except APIError as error:
            if error.status_code != 404:
                raise
            return None
        return found if kept.name_of(found) else None

    async def _spec_files(self) -> SpecFiles | None:
        """The engine's CDI specifications, where the hub may write them; else None."""
        info = await self.docker("info")
        is_here = await self.on_thread(lambda: self.client.base_url.startswith("http+docker://localhost"))
        try:
            return SpecFiles(info.get("CDISpecDirs") or ()) if is_here else None
        except PermissionError:
            return None

    async def pull_image(self, image: str) -> None:
        """What was kept needs its image's name no more."""
        if not self._resumed:
            await super().pull_image(image)

    # --- a start ---------------------------------------------------------------------------------

    @property
    def _kept_name(self) -> str:
        return kept.name(self.gpuhub.pool.hub_id, self.object_name)

    def keeping_arguments(
        self, arguments: Mapping[str, Any], image: Mapping[str, Any], machine: MachineType, *, has_cdi: bool
    ) -> dict[str, Any]:
        """Arguments of ``create_container`` for a machine that is kept."""
        self._made = True
        labels = {**arguments["labels"], container.LABEL_TEMPLATE: self.template_reference}
        return kept.create_arguments(
            {**arguments, "labels": labels},
            image,
            self._kept_name,
            machine,
            kept.largest_shm_mib(self.gpuhub.machines),
            has_cdi=has_cdi,
        )

    async def start_object(self) -> None:
        """Start the container; a kept one is given its GPUs, its limits and its settings first."""
        found = await self.docker("inspect_container", self.container_id)
        if not kept.name_of(found):
            await super().start_object()
            return
        if found["State"]["Running"]:  # a hub that was killed has lost track of it
            await self.docker("stop", self.container_id)
        if not self._made:
            await self.on_thread(_update, self._client_of_thread, found["Id"], self.box_limits)
        started = f"{self.lease.id}-{time.time_ns()}" if self.lease else ""
        has_device = kept.has_device(found)
        for _ in range(_TRIES):
            if has_device:
                await self._describe(kept.name_of(found), started)
            heard = await self._start_and_tell(found["Id"])
            if heard and (not has_device or await self._is_of(started)):
                return
            # Where it heard and is of another start, the engine had not seen yet what was written: its GPUs
            # may be those of the last time.
            await self._kill()
        raise refusal(
            "The engine did not give your machine the settings of this start, so it was stopped. Try again,"
            " or tell the admin.",
            "engine",
            503,
        )

    async def _kill(self) -> None:
        try:
            await self.docker("kill", self.container_id)
        except APIError as error:
            if error.status_code != 409:  # it has ended by itself
                raise

    def _client_of_thread(self) -> docker.APIClient:
        return self.client

    @property
    def box_limits(self) -> dict[str, Any]:
        """The machine type's limits, as the engine's ``update`` takes them."""
        raise NotImplementedError

    async def _describe(self, name: str, started: str) -> None:
        machine, lease = self.machine, self.lease
        assert machine is not None and lease is not None
        files = await self._spec_files()
        if files is None:
            raise refusal(_no_cdi(machine), "kept", 503)
        told = {
            kept.START: started,
            "GPUBOX_GPUS": ",".join(lease.gpus),
            "GPUBOX_MACHINE": machine.name,
        }
        try:
            await asyncio.to_thread(files.write, name, lease.gpus, told)
        except NotDescribed as error:
            raise refusal(str(error.args[0]), "kept", 503) from error

    async def _start_and_tell(self, container_id: str) -> bool:
        """Start it and tell it its settings; whether it heard, or had ended before."""
        told = kept.settings(self.get_env())
        deadline = time.monotonic() + _SEEN_SECONDS
        while True:
            try:
                return await self.on_thread(_start_with, self._client_of_thread, container_id, told)
            except APIError as error:
                if "unresolvable CDI devices" not in str(error) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_LOOK_SECONDS)

    async def _is_of(self, started: str) -> bool:
        """Whether the running container has what was described for this start; also if it has ended."""
        try:
            asked = await self.docker("exec_create", self.container_id, ["cat", "/proc/1/environ"])
            environment = await self.docker("exec_start", asked["Id"])
        except APIError as error:
            if error.status_code == 409:  # not running: the start ends with its last words
                return True
            raise
        return f"{kept.START}={started}".encode() in environment.split(b"\0")

    # --- after a stop ----------------------------------------------------------------------------

    async def withdraw(self, found: Mapping[str, Any]) -> None:
        """From now on nobody but a start of ours can start what was kept (an inspect record)."""
        if kept.name_of(found) and kept.has_device(found) and (files := await self._spec_files()):
            files.withdraw(kept.name_of(found))

    async def withdraw_unused(self) -> None:
        """The same for machines that ended while no hub looked."""
        if not any(machine.persistent for machine in self.gpuhub.machines):
            return
        files = await self._spec_files()
        if files is None:
            return
        hub_id = self.gpuhub.pool.hub_id
        written, used = files.written(hub_id), self._names_on_their_way()
        if not written:
            return
        used |= {box.kept for box in await self.boxes(hub_id) if box.running}
        # Nothing is awaited from here on: no start can begin between the question and the deed. One that
        # began after the question and runs by now is not in the answer, but has written anew.
        used |= self._names_on_their_way()
        now = files.written(hub_id)
        for name, when in written.items():
            if name not in used and now.get(name) == when:
                files.withdraw(name)

    def _names_on_their_way(self) -> set[str]:
        return {
            spawner._kept_name
            for _, spawner in self.gpuhub.spawners()
            if isinstance(spawner, KeepingSpawner) and (spawner.pending or spawner.is_settling)
        }

    async def with_what_they_have(self, boxes: list[Box]) -> list[Box]:
        """The boxes, kept ones with the GPUs of now: their labels are of the day on which they were made."""
        if not any(box.kept and box.running for box in boxes):
            return boxes
        files = await self._spec_files()
        return [_with_what_it_has(box, files) if box.kept and files else box for box in boxes]

    # --- what is kept ----------------------------------------------------------------------------

    async def kept_machine(self) -> KeptMachine | None:
        """What the next start goes on with; None where there is nothing, or the engine does not say."""
        try:
            found = await self._find_kept()
            if found is None or found["State"]["Running"]:
                return None
            if self.is_somebody_elses(kept.moment(found["Created"])):
                return None
            return await self._told(found, await self._size(found))
        except ERRORS:
            return None

    async def kept_machines(self, hub_id: str) -> list[KeptMachine]:
        """All that the hub of that id keeps. Raises EngineError."""
        labels = [f"{container.LABEL_HUB}={hub_id}", container.LABEL_KEPT]
        try:
            listing = await self.docker(
                "containers", all=True, size=True, filters={"label": labels, "status": "exited"}
            )
            return [
                await self._told(
                    await self.docker("inspect_container", entry["Id"]), entry.get("SizeRw") or 0
                )
                for entry in listing
            ]
        except ERRORS as error:
            raise EngineError(f"the container engine: {error}") from error

    async def remove_kept(self, machine: KeptMachine) -> None:
        """Delete what was kept. Raises EngineError."""
        try:
            await self.docker("remove_container", machine.id, v=True)
        except ERRORS as error:
            if not (isinstance(error, APIError) and error.status_code == 404):
                raise EngineError(f"It could not be deleted: {error}") from error

    async def _told(self, found: Mapping[str, Any], size_bytes: int | None) -> KeptMachine:
        try:
            named = await self.docker("inspect_image", found["Config"]["Image"])
            is_old = named["Id"] != found["Image"]
        except ERRORS:
            is_old = False  # there is no newer one
        return kept.record(found, size_bytes, is_old=is_old)

    async def _size(self, found: Mapping[str, Any]) -> int | None:
        asked = self.docker("containers", all=True, size=True, filters={"id": found["Id"]})
        try:
            (entry,) = await asyncio.wait_for(asked, _SIZE_SECONDS)
        except (TimeoutError, ValueError):
            return None
        return int(entry.get("SizeRw") or 0)

    async def delete_forever(self) -> None:
        """The user or the server is deleted for good, and what was kept with it."""
        await maybe_future(super().delete_forever())
        found = await self._find_kept()
        if found is not None:
            self.log.info("Deleting what was kept of %s.", self._log_name)
            await self.withdraw(found)
            await self.docker("remove_container", found["Id"], v=True, force=True)

    async def has_kept(self) -> bool:
        """Whether this server has a container that is kept, running or not."""
        return await self._find_kept() is not None


def _no_cdi(machine: MachineType) -> str:
    return (
        f"{machine.title} is kept when it stops, and what was kept can be given GPUs only where the hub may"
        " write CDI specifications for the engine. Tell the admin: gpubox doctor"
    )


def _with_what_it_has(box: Box, files: SpecFiles) -> Box:
    told = files.environment(box.kept)
    gpus = tuple(uuid for uuid in told.get("GPUBOX_GPUS", "").split(",") if uuid)
    return replace(box, gpus=gpus, machine=told.get("GPUBOX_MACHINE", box.machine))


def _update(client_of_thread: Callable[[], Any], container_id: str, limits: Mapping[str, Any]) -> None:
    # docker-py's update_container has no limit of processes.
    client = client_of_thread()
    answer = client._post_json(client._url("/containers/{0}/update", container_id), data=limits)
    client._raise_for_status(answer)


def _start_with(client_of_thread: Callable[[], Any], container_id: str, told: bytes) -> bool:
    """Start a container and tell it something; whether it said that it heard, or ended."""
    client = client_of_thread()
    stream = client.attach_socket(container_id, params={"stdin": 1, "stdout": 1, "stream": 1})
    # What docker-py hands out for a Unix socket reads only; the socket itself is below it.
    connection = getattr(stream, "_sock", stream)
    try:
        connection.settimeout(_HEARD_SECONDS)
        client.start(container_id)
        connection.sendall(told)
        said = b""
        while kept.HEARD not in said:
            part = connection.recv(4096)
            if not part:
                break  # its last words are told where it is waited for
            said += part
        return True
    except TimeoutError:
        return False
    finally:
        stream.close()
