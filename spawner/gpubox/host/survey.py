"""The facts that `gpubox doctor` judges, collected from this machine."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import docker

from .. import paths
from ..engines import cdi
from ..inventory import nvidia
from . import engine, image, vmhost
from .doctor import Facts, PortUser


def look(engine_kind: str, ports: Mapping[int, str]) -> Facts:
    """Look at this machine. ``ports`` tells what the hub takes each of its ports for.

    Never raises for what is missing here: that is what the doctor tells.
    """
    name = image.image_name("cpu")
    users = {port: port_user(port) for port in ports}
    if "hub" in users.values():  # its proxy and its API do not tell who they are
        users = {port: "free" if user == "free" else "hub" for port, user in users.items()}
    facts = Facts(
        engine_kind=engine_kind,
        now=datetime.now(UTC),
        inventory=nvidia.discover(),
        image_name=name,
        ports={port: (use, users[port]) for port, use in ports.items()},
        proxy_program=program("configurable-http-proxy"),
        server_program=program("jupyter-lab"),
        closed=closed_to_users() if engine_kind == "process" else "",
        vms=vmhost.look(),
    )
    return facts if engine_kind != "docker" else _with_engine(facts, name)


def _with_engine(facts: Facts, image_name: str) -> Facts:
    facts = replace(facts, may_use_socket=_may_use_socket())
    try:
        client = engine.connect()
        found = engine.facts(client)
    except engine.EngineProblem as problem:
        return replace(facts, engine_problem=str(problem))
    local = _is_local(client)
    return replace(
        facts,
        engine=found,
        cdi_specs=_read_specs(found.cdi_dirs) if local else None,
        may_write_cdi=any(cdi.may_write(Path(one)) for one in found.cdi_dirs) if local else None,
        image=image.find_image(client, image_name),
        free_gib=_free_gib(found.root_dir) if local else None,
    )


def program(name: str) -> str:
    """Where a program is, in this Python's own folder before others; empty where it is not."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return shutil.which(name, path=path) or ""


def closed_to_users() -> str:
    """What on the way to this Python the accounts of users may not pass; empty where they may.

    A hub that is not root's starts servers as its own account alone, which may.
    """
    if os.geteuid() != 0:
        return ""
    # Both where the interpreter is and where the link to it in the virtual environment is.
    closed = paths.closed_to(sys.executable, None) or paths.closed_to(Path(sys.prefix) / "bin", None)
    return str(closed or "")


def _may_use_socket() -> bool | None:
    if os.environ.get("DOCKER_HOST") or not engine.SOCKET.exists():
        return None
    return os.access(engine.SOCKET, os.R_OK | os.W_OK)


def _is_local(client: docker.DockerClient) -> bool:
    return client.api.base_url.startswith("http+docker")


def _read_specs(directories: Iterable[str]) -> str:
    texts = []
    for directory in map(Path, directories):
        for file in sorted(directory.glob("*")) if directory.is_dir() else ():
            if file.suffix in (".json", ".yaml", ".yml") and not file.name.startswith(cdi.PREFIX):
                try:
                    texts.append(file.read_text(errors="replace"))
                except OSError:
                    continue  # for root's eyes: the engine reads it, we cannot
    return "\n".join(texts)


def _free_gib(directory: str) -> float | None:
    try:
        return shutil.disk_usage(directory).free / 2**30
    except OSError:
        return None


def port_user(port: int) -> PortUser:
    """Who listens on a port of this machine now."""
    if is_free(port):
        return "free"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hub/api/", timeout=2) as answer:
            return "hub" if b'"version"' in answer.read(200) else "other"
    except (OSError, ValueError):
        return "other"


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError:
            return False
    return True
