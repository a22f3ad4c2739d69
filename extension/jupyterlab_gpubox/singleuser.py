"""`gpubox-singleuser`: JupyterHub's own single-user server, started without what it never uses.

The server, its options, its authentication and its settings from the environment are those of
`jupyterhub-singleuser`; none of its code is replaced. Only imports differ: modules that the server loads
and does not use have a stand-in while it is being imported, and are imported for real when something
asks them for anything. From the start of the process to the first answer of /api, in the cpu image, warm,
that is 0.41 s instead of 1.37 s; tests/bench/bench_boot.py measures it.

`GPUBOX_STOCK_SINGLEUSER=1` in the environment starts the server with no stand-in at all, and so does
any error while it is being imported with them.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version

from jupyterlab_gpubox.standin import Later, MadeLater, StandIn, standing_in

STOCK = "GPUBOX_STOCK_SINGLEUSER"


def main() -> None:
    """Serve, with the arguments and the environment of `jupyterhub-singleuser`."""
    # What imports make stays: looking for garbage in it, again and again, takes 0.06 s and finds nothing.
    gc.disable()
    if os.environ.get(STOCK, "") not in {"", "0"}:
        serve = import_server()
    else:
        try:
            with standing_in(never_used()):
                serve = import_server()
        except Exception as error:
            # What is imported by now may hold stand-ins: a new process is the only clean slate.
            print(f"gpubox-singleuser: {error!r}; starting again with {STOCK}=1", file=sys.stderr)
            os.environ[STOCK] = "1"
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    gc.freeze()
    gc.enable()
    serve()


def import_server() -> Callable[[], None]:
    """Import JupyterHub's single-user server and return its main function."""
    serve: Callable[[], None] = importlib.import_module("jupyterhub.singleuser").main
    # The server imports its extensions once it runs. Those that import what has a stand-in are imported
    # here already, if they are there.
    for extension in ("jupyterlab.labapp", "jupyterlab_git"):
        with suppress(ModuleNotFoundError):
            importlib.import_module(extension)
    return serve


def never_used() -> list[StandIn]:
    """The stand-ins, grouped by who imports the module for what, with the seconds the import takes."""
    return [
        # jsonschema, to check values of the formats "iri" and "duration", which no schema of the server
        # has. The first compiles a grammar when it is imported: 0.6 s. The second imports arrow: 0.01 s.
        StandIn("rfc3987_syntax", is_valid_syntax=Later("rfc3987_syntax", "is_valid_syntax")),
        StandIn("arrow"),
        # jupyterhub.utils, .scopes and .log are the hub's and the single-user server's; a database and
        # pages only the hub has: 0.3 s. The two classes are named in an `except` around the hub's
        # queries and in an `isinstance` that makes the log skip its health checks.
        StandIn("sqlalchemy"),
        StandIn("sqlalchemy.exc", SQLAlchemyError=type("SQLAlchemyError", (Exception,), {})),
        StandIn("jupyterhub.orm"),
        StandIn("jupyterhub.roles"),
        StandIn("jupyterhub.handlers"),
        StandIn("jupyterhub.handlers.pages", HealthCheckHandler=type("HealthCheckHandler", (), {})),
        # JupyterLab's extension manager, to ask the package index once someone opens its panel: 0.05 s.
        StandIn("requests"),
        StandIn("httpx", __version__=_version("httpx"), AsyncClient=_http_client),
        # jupyterlab-git, to show what changed in a notebook: 0.02 s.
        StandIn(
            "nbdime",
            diff_notebooks=Later("nbdime", "diff_notebooks"),
            merge_notebooks=Later("nbdime", "merge_notebooks"),
        ),
    ]


def _http_client(**options: object) -> MadeLater:
    return MadeLater("httpx", "AsyncClient", **options)


def _version(distribution: str) -> str:
    with suppress(ImportError):  # PackageNotFoundError is one
        return version(distribution)
    return "0"
