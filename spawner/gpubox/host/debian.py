"""Docker 25 or newer from Debian's own packages.

Debian 13 has it. Debian 12 has Docker 20.10, which knows no CDI: there the engine comes from
Debian 13, pinned so that nothing else does. Its runc stays Debian 12's: Debian 13's needs a newer C
library.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import HostProblem, Say

PACKAGES = ("docker.io", "docker-cli", "containerd", "docker-buildx", "runc", "iptables", "tini")
FROM_NEXT_SUITE = ("docker.io", "docker-cli", "containerd", "docker-buildx")
LEAST_ENGINE = 25
"""CDI, by which containers get their GPUs, came with Docker 25."""

SOURCES = Path("/etc/apt/sources.list.d/gpubox-docker.sources")
PREFERENCES = Path("/etc/apt/preferences.d/gpubox-docker")


@dataclass(frozen=True)
class Plan:
    """What to install, and what to write for apt first (empty: nothing)."""

    packages: tuple[str, ...]
    sources: str = ""
    preferences: str = ""


def install_docker(say: Say) -> None:
    """Install Docker with what it needs. Must run as root; raises `HostProblem` with a sentence."""
    release = Path("/etc/os-release")
    system = os_release(release.read_text() if release.exists() else "")
    if shutil.which("apt-get") is None or system.get("ID") != "debian":
        name = system.get("PRETTY_NAME", "not Debian")
        raise HostProblem(
            f"Docker is missing, and gpubox installs it on Debian only (this is {name})."
            f" Install Docker {LEAST_ENGINE} or newer, then run this again."
        )
    say("looking for Docker in Debian's packages")
    _apt("update")
    known = mirrors(
        _output("apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages")
    )
    plan = plan_for(
        system.get("VERSION_CODENAME", ""),
        candidate=_candidate("docker.io"),
        archive=known.get("Debian", ""),
        security=known.get("Debian-Security", ""),
    )
    if plan.sources:
        say("adding Debian 13 as the source of Docker, and of nothing else")
        SOURCES.write_text(plan.sources)
        PREFERENCES.write_text(plan.preferences)
        _apt("update")
    say("installing Docker")
    _apt("install", "-y", "--no-install-recommends", *plan.packages)


def plan_for(suite: str, *, candidate: str, archive: str, security: str) -> Plan:
    """What to do on a Debian of that suite, where apt would now install version ``candidate``.

    ``archive`` and ``security`` are the mirrors that the machine uses, empty where it has none.
    Raises `HostProblem` for a Debian on which Docker 25 does not run.
    """
    if engine_major(candidate) >= LEAST_ENGINE:
        return Plan(PACKAGES)
    if suite != "bookworm":
        raise HostProblem(
            f"Debian {suite or 'of this release'} has no Docker {LEAST_ENGINE} (found:"
            f" {candidate or 'none'}). Use Debian 12 or newer, or install Docker by hand."
        )
    if not archive:
        raise HostProblem(
            "apt knows no mirror of Debian here. Add one to /etc/apt/sources.list, then run this again."
        )
    return Plan(PACKAGES, _sources(archive, security), _preferences())


def engine_major(version: str) -> int:
    """The major version in ``26.1.5+dfsg1-9`` or ``5:27.0.1``; 0 where there is none."""
    found = re.match(r"(?:\d+:)?(\d+)", version)
    return int(found[1]) if found else 0


def os_release(text: str) -> dict[str, str]:
    """The fields of /etc/os-release."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def _sources(archive: str, security: str) -> str:
    suites = {archive: "trixie trixie-updates", security: "trixie-security"}
    stanzas = (
        f"Types: deb\nURIs: {uri}\nSuites: {names}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        for uri, names in suites.items()
        if uri
    )
    return (
        "# Written by gpubox: Docker with CDI. preferences.d/gpubox-docker keeps all else away.\n"
        + "\n".join(stanzas)
    )


def _preferences() -> str:
    # Above 500, Debian 12's own priority, for the engine; under 100, that of what is installed
    # already, for the rest: apt takes it only where nothing else will do.
    return (
        "# Written by gpubox: of Debian 13, Docker alone.\n"
        "Package: *\nPin: release n=trixie*\nPin-Priority: 50\n\n"
        f"Package: {' '.join(FROM_NEXT_SUITE)}\nPin: release n=trixie*\nPin-Priority: 600\n"
    )


def _candidate(package: str) -> str:
    listing = _output("apt-cache", "policy", package)
    found = re.search(r"Candidate: (\S+)", listing)
    return "" if found is None or found[1] == "(none)" else found[1]


def mirrors(listing: str) -> dict[str, str]:
    """Where this machine gets packages from, by the archive's label, from lines of URI and label."""
    pairs = (line.split(" ", 1) for line in listing.splitlines() if " " in line)
    return {label: uri.rstrip("/") for uri, label in pairs}


def _apt(*arguments: str) -> None:
    # Another apt may run (a fresh machine updates itself): wait for it instead of failing.
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise HostProblem(f"apt-get {arguments[0]} failed: {_reason(done.stderr)}")


def _reason(errors: str) -> str:
    lines = [line[2:].strip() for line in errors.splitlines() if line.startswith("E:")]
    return " ".join(lines) or errors.strip()[-300:] or "it gave no reason"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
