"""The network that containers live in: one bridge on which no container reaches another."""

from __future__ import annotations

from typing import Any

import docker
from docker.errors import APIError, NotFound

from . import HostProblem

_NO_TALK = "com.docker.network.bridge.enable_icc"


def ensure_network(client: docker.DockerClient, name: str) -> str:
    """Make the bridge network ``name`` where it is missing; return its gateway, the host's address.

    Raises `HostProblem` where a network of that name exists on which containers can talk to each
    other, or which has no address for the host.
    """
    try:
        found = client.networks.get(name)
    except NotFound:
        found = _make(client, name)
    problem = why_unfit(found.attrs)
    if problem:
        raise HostProblem(
            f"The Docker network {name!r} {problem}. Remove it (docker network rm {name}), then"
            " gpubox makes its own; or name another in c.DockerSpawner.network_name."
        )
    return gateway(found.attrs)


def _make(client: docker.DockerClient, name: str) -> Any:
    try:
        made = client.networks.create(name, driver="bridge", options={_NO_TALK: "false"})
    except APIError as error:
        if error.status_code == 409:  # another hub has just made it
            return client.networks.get(name)
        raise HostProblem(
            f"The Docker network {name!r} could not be made: {error.explanation or error}."
        ) from error
    made.reload()
    return made


def why_unfit(network: dict[str, Any]) -> str:
    """What keeps a network (as inspected) from being the one for containers; empty if nothing."""
    if network["Driver"] != "bridge":
        return f"is of the kind {network['Driver']}, not a bridge"
    if (network.get("Options") or {}).get(_NO_TALK) != "false":
        return "lets containers talk to each other"
    if not gateway(network):
        return "has no gateway, so containers could not reach the hub"
    return ""


def gateway(network: dict[str, Any]) -> str:
    """The host's IPv4 address on a network (as inspected); empty if it has none."""
    for entry in (network.get("IPAM") or {}).get("Config") or []:
        address = str(entry.get("Gateway") or "").partition("/")[0]
        if address and ":" not in address:
            return address
    return ""
