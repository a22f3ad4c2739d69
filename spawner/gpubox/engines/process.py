"""Servers as local processes, for a machine with no container engine.

Each runs as the Unix account of its user and is told its GPUs by CUDA_VISIBLE_DEVICES: CUDA
programs see no other, but nothing keeps a hostile one from them. For people who trust each other.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from jupyterhub.spawner import LocalProcessSpawner
from traitlets import Bool, Unicode, default

from .. import paths
from ..machines import MachineType
from ..spawner import GPUSpawner, refusal
from . import Box, EngineError

_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,30}")


class ProcessGPUSpawner(GPUSpawner, LocalProcessSpawner):
    """A server as a process of its user's Unix account."""

    create_accounts = Bool(
        False,
        help="""Make a Unix account for a hub user who has none (the hub must run as root).

        The account's name is ``account_template``. Example::

            c.ProcessGPUSpawner.create_accounts = True
        """,
    ).tag(config=True)

    account_template = Unicode(
        "{username}",
        help="""The Unix account of a hub user. Example::

            c.ProcessGPUSpawner.account_template = "jupyter-{username}"
        """,
    ).tag(config=True)

    @default("cmd")
    def _default_cmd(self) -> list[str]:
        return ["gpubox-singleuser"]

    @property
    def account(self) -> str:
        """The Unix account that the server runs as."""
        return self.account_template.format(username=self.user.name)

    async def check_can_run(self, machine: MachineType) -> None:
        """See to it that the user's account exists."""
        try:
            await asyncio.to_thread(self._ensure_account)
        except (OSError, KeyError, subprocess.SubprocessError) as error:
            raise refusal(
                f"This machine has no account {self.account!r} for you, and none could be made"
                f" ({error}). Ask the admin.",
                "no_account",
                503,
            ) from error
        program = shutil.which(self.cmd[0])
        if program is None:
            raise refusal(
                f"The server program {self.cmd[0]} is not installed beside the hub. The admin's"
                " remedy: pip install gpubox[process]",
                "no_server_program",
                503,
            )
        for path in (program, sys.executable):
            if closed := await asyncio.to_thread(_closed_to, self.account, path):
                raise refusal(
                    f"Your account {self.account} may not run {path}, because {closed} is closed to"
                    " it. The admin's remedy: install gpubox outside of a home, such as in /opt.",
                    "closed_program",
                    503,
                )

    def _ensure_account(self) -> None:
        try:
            pwd.getpwnam(self.account)
        except KeyError:
            if not self.create_accounts:
                raise
            if not _ACCOUNT.fullmatch(self.account):
                raise OSError("the name is not fit for a Unix account") from None
            subprocess.run(
                ["useradd", "--create-home", "--shell", "/bin/bash", "--", self.account],
                check=True,
                capture_output=True,
            )

    def make_preexec_fn(self, name: str) -> Any:
        """Become the account, not the hub's name for the user."""
        return super().make_preexec_fn(self.account)

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """USER, HOME and SHELL of the account."""
        entry = pwd.getpwnam(self.account)
        return {**env, "USER": self.account, "HOME": entry.pw_dir, "SHELL": entry.pw_shell}

    def get_env(self) -> dict[str, str]:
        """The stock environment, the GPUs, and the marks by which the process is found again."""
        lease, machine = self.lease, self.machine
        assert lease is not None and machine is not None
        gpus = ",".join(lease.gpus)
        return {
            **super().get_env(),
            **self.box_environment(),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": gpus,
            "GPUBOX_GPUS": gpus,
            "GPUBOX_HUB": self.gpuhub.pool.hub_id,
            "GPUBOX_USER": self.user.name,
            "GPUBOX_SERVER": self.name,
            "GPUBOX_MACHINE": machine.name,
            "GPUBOX_ACCOUNT": self.account,
        }

    async def confirm_stopped(self) -> bool:
        """Whether no process of this server is left, by the kernel's word."""
        boxes = await self.boxes(self.gpuhub.pool.hub_id)
        return not any((box.user, box.server) == (self.user.name, self.name) for box in boxes)

    async def boxes(self, hub_id: str) -> list[Box]:
        """The server processes of the hub of that id."""
        return await asyncio.to_thread(_find_processes, hub_id)

    async def stop_box(self, box: Box) -> None:
        """End a process that no server claims."""
        try:
            await asyncio.to_thread(_end_process, int(box.id))
        except psutil.Error as error:
            raise EngineError(f"{box.name} could not be stopped: {error}") from error


def _closed_to(account: str, program: str) -> Path | None:
    entry = pwd.getpwnam(account)
    return paths.closed_to(program, entry.pw_uid, os.getgrouplist(account, entry.pw_gid))


def _find_processes(hub_id: str) -> list[Box]:
    """Leaders of a session that carry the hub's marks: kernels and shells are their children."""
    found = []
    for process in psutil.process_iter():
        try:
            marks = process.environ()
            if marks.get("GPUBOX_HUB") != hub_id or process.status() == psutil.STATUS_ZOMBIE:
                continue
            # A user may write any marks into their own processes: the account must be the one.
            if process.username() != marks.get("GPUBOX_ACCOUNT") or _is_child(process, hub_id):
                continue
        except psutil.Error:
            continue
        found.append(
            Box(
                id=str(process.pid),
                name=f"process {process.pid}",
                user=marks.get("GPUBOX_USER", ""),
                server=marks.get("GPUBOX_SERVER", ""),
                machine=marks.get("GPUBOX_MACHINE", ""),
                running=True,
                gpus=tuple(uuid for uuid in marks.get("GPUBOX_GPUS", "").split(",") if uuid),
            )
        )
    return found


def _is_child(process: psutil.Process, hub_id: str) -> bool:
    parent = process.parent()
    try:
        return parent is not None and parent.environ().get("GPUBOX_HUB") == hub_id
    except psutil.Error:
        return False


def _end_process(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.terminate()
        except psutil.NoSuchProcess:
            pass
    _, alive = psutil.wait_procs(family, timeout=10)
    for member in alive:
        member.kill()
