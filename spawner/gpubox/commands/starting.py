"""`gpubox run`, `doctor` and `image`: what is done to this machine, in the words of the terminal."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..host import HostProblem
from .words import say

ENGINES = ("docker", "process")


def add_to(commands: Any) -> None:
    """Add `run`, `doctor` and `image`."""
    command = commands.add_parser("run", help="start the hub; sets up Docker and the image first")
    command.set_defaults(command=run)
    _add_engine(command)
    command.add_argument("--config", metavar="FILE", help="the hub's config (./jupyterhub_config.py)")
    command.add_argument("--port", type=_port, help="the port that people open (8000)")
    command.add_argument("hub_arguments", nargs="*", metavar="-- ARG", help="passed on to jupyterhub")

    command = commands.add_parser("doctor", help="check this machine, with a remedy for what is wrong")
    command.set_defaults(command=doctor)
    _add_engine(command)
    command.add_argument("--port", type=_port, help="the port that people open (8000)")

    command = commands.add_parser("image", help="build the image that servers run")
    command.set_defaults(command=build)
    command.add_argument(
        "target",
        nargs="*",
        action=_ImageToBuild,
        default="cpu",
        metavar="[build] [cpu|cuda|cuda12|vm]",
        help="for the CPU (default), for NVIDIA GPUs, for older ones and drivers 525 to 579, or the disk of"
        " virtual machines, which libvirt gets",
    )
    command.add_argument("--libvirt", metavar="URI", help="with vm: which libvirt (qemu:///system)")
    command.add_argument("--pool", help="with vm: which of its storage pools (gpubox)")
    command.add_argument(
        "--pool-path", metavar="FOLDER", help="with vm: the pool's folder, if it is to be made"
    )
    command.add_argument(
        "--build-arg",
        dest="build_arguments",
        type=_build_argument,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a build argument of images/Dockerfile, such as FAST_LANE=yes; can be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Put everything in place and become the hub."""
    from ..host import admin, hubrun

    os.environ["ENGINE"] = arguments.engine
    if arguments.port:
        os.environ["GPUBOX_PORT"] = str(arguments.port)
    config = hubrun.find_config(arguments.config)
    if arguments.engine == "docker":
        _prepare_docker()
    else:
        _prepare_processes()
    _tell_gpus()
    is_first_run = not admin.password_file().exists()
    settings = hubrun.read_config(config)
    hubrun.check_ports(settings)
    hubrun.greet(settings, is_first_run=is_first_run, say=say)
    hubrun.become_hub(config, arguments.hub_arguments)
    return 0


def _prepare_docker() -> None:
    from ..config import NETWORK
    from ..host import engine, image, network

    client = engine.ensure_engine(say("engine"))
    found = engine.facts(client)
    cdi = "CDI on" if found.has_cdi else "CDI off: for GPUs see gpubox doctor"
    say("engine")(f"Docker {found.version}, {cdi}")
    say("network")(f"{NETWORK}, gateway {network.ensure_network(client, NETWORK)}")
    _tell_image(image.ensure_image(client, "cpu", say("image")))


def build(arguments: argparse.Namespace) -> int:
    """Build an image, with what changed since the last build."""
    from ..host import engine, image

    client = engine.ensure_engine(say("engine"))
    if arguments.target == "vm":
        return _build_disk(client, arguments)
    _tell_image(image.build_image(client, arguments.target, say("image"), dict(arguments.build_arguments)))
    return 0


def _build_disk(client: Any, arguments: argparse.Namespace) -> int:
    from ..engines import spawner_of
    from ..host import vmdisk

    engine = spawner_of("libvirt")
    from ..engines.guests import Guests  # there, as the line above has made sure

    # As the hub's own options are where nobody sets them.
    names = ("uri", "pool", "pool_path", "network", "subnet")
    options = {name: str(engine.class_traits()[name].default()) for name in names}
    named = {"uri": arguments.libvirt, "pool": arguments.pool, "pool_path": arguments.pool_path}
    options |= {name: value for name, value in named.items() if value}
    guests = Guests(options.pop("uri"), "", **options)
    stem = vmdisk.make_disk(client, guests, say("disk"), dict(arguments.build_arguments))
    say("disk")(f"{stem} is what new virtual machines start from")
    return 0


def _tell_image(found: object) -> None:
    from ..host.image import ImageFacts

    assert isinstance(found, ImageFacts)
    age = found.age_days(datetime.now(UTC))
    built = "today" if age == 0 else f"{age} day{'s' if age > 1 else ''} ago"
    say("image")(f"{found.name}, {found.size_bytes / 1e9:.1f} GB, built {built}")
    if found.contents:
        say("image")(found.contents)


def doctor(arguments: argparse.Namespace) -> int:
    """Look at this machine; status 1 where the main job cannot run on it."""
    from ..host import doctor as ward
    from ..host import survey

    port = arguments.port or 8000
    ports = {port: "web", port + 1: "proxy's API", port + 81: "hub's API", port + 82: "pages"}
    checks = ward.examine(survey.look(arguments.engine, ports))
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(ward.render(checks, colour=colour))
    return 0 if ward.can_work(checks) else 1


def _prepare_processes() -> None:
    from ..host import survey

    if closed := survey.closed_to_users():
        raise HostProblem(
            f"Servers run as their users' accounts, and {closed} is closed to them: move gpubox out of"
            " there, such as to /opt/gpubox, and run it from there."
        )
    say("engine")("local processes: users share this machine's files and network")


def _tell_gpus() -> None:
    from ..inventory import nvidia

    found = nvidia.discover()
    if found.problem:
        say("gpus")(found.problem)
    elif not found.gpus:
        say("gpus")("none found; CPU machines work")
    else:
        models: dict[str, int] = {}
        for gpu in found.gpus:
            models[gpu.model] = models.get(gpu.model, 0) + 1
        say("gpus")(", ".join(f"{count}x {model}" for model, count in models.items()))


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine",
        choices=ENGINES,
        default=os.environ.get("ENGINE") or "docker",
        help="docker: a container each (default); process: a local process each",
    )


class _ImageToBuild(argparse.Action):
    """The target of `gpubox image cuda`, which is `gpubox image build cuda` too."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        from ..host.image import TARGETS

        # With no word at all argparse hands on the default.
        words = [values] if isinstance(values, str) else [str(value) for value in values or ()]
        match words[1:] if words[:1] == ["build"] else words:
            case []:
                target = "cpu"
            case [target] if target in (*TARGETS, "vm"):
                pass
            case other:
                parser.error(
                    f"there is no image {' '.join(other)!r}; there are: {', '.join((*TARGETS, 'vm'))}"
                )
        setattr(namespace, self.dest, target)


def _build_argument(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as FAST_LANE=yes")
    return name, value


def _port(text: str) -> int:
    port = int(text) if text.isdigit() else 0
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port (1 to 65535)")
    return port
