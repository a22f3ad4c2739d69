"""The command `gpubox`: run, doctor, gpus, top, leases, usage, image.

What each does is in ``host``; here are arguments, words and exit statuses. Whatever goes wrong ends
in one sentence and status 1; ``--debug`` shows where it came from.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from . import __version__
from .host import HostProblem, Say
from .inventory import Inventory

ENGINES = ("docker", "process")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if arguments.debug:
            raise
        print(f"gpubox: {_sentence(error)}", file=sys.stderr)
        return 1


def _sentence(error: Exception) -> str:
    if isinstance(error, HostProblem):
        return str(error)
    if isinstance(error, ImportError):
        return f"{error}. Install all that a hub needs: pip install 'gpubox[hub]'"
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return f"{type(error).__name__}: {error} (gpubox --debug ... shows where)"


def say(topic: str) -> Say:
    """Tells lines about one topic, aligned with those of others."""
    return lambda line: print(f"{topic:<8} {line}", flush=True)


# --- the commands ----------------------------------------------------------------------------------


def run(arguments: argparse.Namespace) -> int:
    """Put everything in place and become the hub."""
    from .host import admin, hubrun

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
    from .config import NETWORK
    from .host import engine, image, network

    client = engine.ensure_engine(say("engine"))
    found = engine.facts(client)
    cdi = "CDI on" if found.has_cdi else "CDI off: for GPUs see gpubox doctor"
    say("engine")(f"Docker {found.version}, {cdi}")
    say("network")(f"{NETWORK}, gateway {network.ensure_network(client, NETWORK)}")
    _tell_image(image.ensure_image(client, "cpu", say("image")))


def build(arguments: argparse.Namespace) -> int:
    """Build an image, with what changed since the last build."""
    from .host import engine, image

    client = engine.ensure_engine(say("engine"))
    _tell_image(image.build_image(client, arguments.target, say("image")))
    return 0


def _tell_image(found: object) -> None:
    from .host.image import ImageFacts

    assert isinstance(found, ImageFacts)
    age = found.age_days(datetime.now(UTC))
    built = "today" if age == 0 else f"{age} day{'s' if age > 1 else ''} ago"
    say("image")(f"{found.name}, {found.size_bytes / 1e9:.1f} GB, built {built}")
    if found.contents:
        say("image")(found.contents)


def doctor(arguments: argparse.Namespace) -> int:
    """Look at this machine; status 1 where the main job cannot run on it."""
    from .host import doctor as ward
    from .host import survey

    port = arguments.port or 8000
    ports = {port: "web", port + 1: "proxy's API", port + 81: "hub's API", port + 82: "pages"}
    checks = ward.examine(survey.look(arguments.engine, ports))
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(ward.render(checks, colour=colour))
    return 0 if ward.can_work(checks) else 1


def gpus(arguments: argparse.Namespace) -> int:
    """List the GPUs; status 1 where the driver cannot be asked."""
    from .inventory import nvidia

    found = nvidia.discover()
    if found.problem:
        raise HostProblem(found.problem)
    print(_gpu_table(found))
    for sentence in found.silent:
        print(sentence)
    return 0


def watch(arguments: argparse.Namespace) -> int:
    """Show the GPUs and who uses them, refreshed; status 1 where a driver is in trouble."""
    from jupyterlab_gpubox import top

    return top.watch(seconds=arguments.seconds, once=arguments.once)


def leases(arguments: argparse.Namespace) -> int:
    """List the machines that are held now."""
    from . import books

    now = time.time()
    held = books.held(books.open_books(_ledger(arguments)), now)
    if arguments.json:
        return _print_json([asdict(one) for one in held])
    rows = [
        (
            one.user,
            one.server or "-",
            one.machine,
            ", ".join(one.gpus) or "-",
            datetime.fromtimestamp(one.granted_at).strftime("%d %b %H:%M"),
            f"{one.hours:.1f}",
            f"{one.cost:.2f}",
        )
        for one in held
    ]
    head = ("USER", "SERVER", "MACHINE", "GPUS", "SINCE", "HOURS", "COST")
    print(_table([head, *rows], right=(5, 6)) if rows else "No machine is held.")
    return 0


def usage(arguments: argparse.Namespace) -> int:
    """What was used in a month, and what it cost."""
    from . import books

    period = books.month(arguments.month)
    found = books.usage(books.open_books(_ledger(arguments)), period, time.time(), arguments.by)
    if arguments.json:
        return _print_json(books.as_dict(found))
    rows = [
        (one.name, str(one.leases), f"{one.hours:.1f}", f"{one.gpu_hours:.1f}", f"{one.cost:.2f}")
        for one in [*found.rows, found.total]
    ]
    head = (arguments.by.upper(), "LEASES", "HOURS", "GPU-HOURS", "COST")
    print(_table([head, *rows], right=(1, 2, 3, 4)) if found.rows else f"Nothing was used in {arguments.month}.")
    return 0


def _ledger(arguments: argparse.Namespace) -> str:
    """The database of leases: the one that was named, else where a hub of this machine keeps it."""
    from . import paths

    return arguments.database or f"sqlite:///{paths.state_dir() / 'gpubox.sqlite'}"


def _print_json(value: object) -> int:
    print(json.dumps(value, indent=1))
    return 0


def _prepare_processes() -> None:
    from .host import survey

    if closed := survey.closed_to_users():
        raise HostProblem(
            f"Servers run as their users' accounts, and {closed} is closed to them: move gpubox out of"
            " there, such as to /opt/gpubox, and run it from there."
        )
    say("engine")("local processes: users share this machine's files and network")


def _tell_gpus() -> None:
    from .inventory import nvidia

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


def _gpu_table(found: Inventory) -> str:
    if not found.gpus:
        return "No GPU found; CPU machines work."
    rows = [("GPU", "MODEL", "MEMORY", "STATE", "UUID")]
    for gpu in found.gpus:
        model = f"{gpu.model} MIG {gpu.mig_profile}" if gpu.mig_profile else gpu.model
        memory = "shared" if gpu.memory_mib is None else f"{gpu.memory_mib / 1024:.0f} GiB"
        rows.append((str(gpu.index), model, memory, gpu.problem or "ok", gpu.uuid))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Aligned columns, those in ``right`` at their right edge."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def fitted(column: int, cell: str) -> str:
        return cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])

    return "\n".join("  ".join(fitted(*cell) for cell in enumerate(row)).rstrip() for row in rows)


# --- arguments -------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    from jupyterlab_gpubox import top

    parser = argparse.ArgumentParser(prog="gpubox", description="ML-in-a-box for your own GPU machines.")
    parser.add_argument("--version", action="version", version=f"gpubox {__version__}")
    parser.add_argument("--debug", action="store_true", help="on an error, show where it came from")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

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

    command = commands.add_parser("gpus", help="list the GPUs of this machine")
    command.set_defaults(command=gpus)

    command = commands.add_parser("top", help="the GPUs and who uses them, refreshed each second")
    command.set_defaults(command=watch)
    top.add_arguments(command)

    command = commands.add_parser("leases", help="who holds which machine, since when, at what cost")
    command.set_defaults(command=leases)
    _add_books(command)

    command = commands.add_parser("usage", help="hours, GPU-hours and cost of a month")
    command.set_defaults(command=usage)
    command.add_argument(
        "--month", default=datetime.now().strftime("%Y-%m"), metavar="YYYY-MM", help="the month (this one)"
    )
    command.add_argument("--by", choices=("user", "machine"), default="user", help="a line each (user)")
    _add_books(command)

    command = commands.add_parser("image", help="build the image that servers run")
    command.set_defaults(command=build)
    command.add_argument(
        "target",
        nargs="*",
        action=_ImageToBuild,
        default="cpu",
        metavar="[build] [cpu|cuda|cuda12]",
        help="for the CPU (default), for NVIDIA GPUs, or for older ones and drivers 525 to 579",
    )
    return parser


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine",
        choices=ENGINES,
        default=os.environ.get("ENGINE") or "docker",
        help="docker: a container each (default); process: a local process each",
    )


def _add_books(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="for programs")
    command.add_argument(
        "--database", metavar="URL", help="the hub's c.GPUHub.database_url (the one in the state directory)"
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
        from .host.image import TARGETS

        # With no word at all argparse hands on the default.
        words = [values] if isinstance(values, str) else [str(value) for value in values or ()]
        match words[1:] if words[:1] == ["build"] else words:
            case []:
                target = "cpu"
            case [target] if target in TARGETS:
                pass
            case other:
                parser.error(f"there is no image {' '.join(other)!r}; there are: {', '.join(TARGETS)}")
        setattr(namespace, self.dest, target)


def _port(text: str) -> int:
    port = int(text) if text.isdigit() else 0
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port (1 to 65535)")
    return port
