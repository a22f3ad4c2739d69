"""The box's server: the lean launcher serves what JupyterHub's own does, to nobody else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PROBE = ("--ServerApp.jpserver_extensions=server_probe=True",)
SECRETS = ("token-of-the-server", "token-of-ada", "token-of-bob")


def probe(image: str, *command: str, environment: dict[str, str] | None = None) -> Any:
    """The report of server_probe.py in a new container that has no network."""
    settings = [f"--env={name}={value}" for name, value in (environment or {}).items()]
    ran = subprocess.run(
        [
            *("docker", "run", "--rm", "--init", "--network=none", f"--volume={HERE}:/probe:ro"),
            *("--env=PYTHONPATH=/probe", "--env=PYTHONDONTWRITEBYTECODE=1", *settings, image),
            *("python", "/probe/server_probe.py", "1", *command, *PROBE),
        ],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def lean(image: str) -> Any:
    """The server as boxes start it."""
    return probe(image, "gpubox-singleuser")


@pytest.fixture(scope="module")
def stock(image: str) -> Any:
    """JupyterHub's own in the same image."""
    return probe(image, "jupyterhub-singleuser")


def test_the_server_answers_its_owner_and_nobody_else(lean: Any) -> None:
    assert lean["answers"] == {
        "api": 200,
        "contents without a token": 403,
        "contents with a wrong token": 403,
        "contents with another user's token": 403,
        "contents with the owner's token": 200,
        "status without a token": 403,
        "kernels without a token": 403,
        "terminals without a token": 403,
        "lab without a token": 302,
        "lab with the owner's token": 200,
        "metrics without a token": 403,
    }
    assert lean["login"].startswith("/hub/api/oauth2/authorize?client_id=jupyterhub-user-ada&")


def test_it_is_the_same_server_that_jupyterhub_starts(lean: Any, stock: Any) -> None:
    for part in ("handlers", "extensions", "settings", "identity", "authorizer"):
        assert lean["server"][part] == stock["server"][part]
    assert lean["answers"] == stock["answers"]
    assert "jupyterlab" in lean["server"]["extensions"]
    assert "TermSocket" in "".join(lean["server"]["handlers"])


def test_it_tells_the_hub_of_activity(lean: Any) -> None:
    assert lean["activity"] == {
        "path": "/hub/api/users/ada/activity",
        "authorization": "token token-of-the-server",
        "servers": [""],
    }


def test_it_loads_neither_the_hub_nor_what_else_a_server_never_uses(lean: Any, stock: Any) -> None:
    unused = {"sqlalchemy", "alembic", "jupyterhub.orm", "jupyterhub.handlers", "rfc3987_syntax", "requests"}
    unused |= {"nbdime"}
    assert unused <= set(stock["server"]["modules"])  # else the stand-ins have become needless
    assert not unused & set(lean["server"]["modules"])


def test_no_token_shows_in_the_log_or_the_process_list(lean: Any) -> None:
    shown = lean["log"] + json.dumps(lean["arguments"])
    assert not [secret for secret in SECRETS if secret in shown]


def test_jupyterlab_neither_offers_news_nor_looks_for_updates(lean: Any) -> None:
    assert lean["news"]["fetchNews"]["default"] == "false"
    assert lean["news"]["checkForUpdates"]["default"] is False


def test_it_stops_in_order_when_told(lean: Any) -> None:
    assert lean["stopped with"] == 0


def test_options_of_the_command_line_reach_the_server(image: str) -> None:
    report = probe(image, "gpubox-singleuser", "--ServerApp.terminals_enabled=False")
    assert report["answers"]["terminals without a token"] == 404
    assert report["answers"]["contents with the owner's token"] == 200


def test_the_stock_server_is_one_setting_away(image: str, stock: Any) -> None:
    report = probe(image, "gpubox-singleuser", environment={"GPUBOX_STOCK_SINGLEUSER": "1"})
    assert set(stock["server"]["modules"]) <= set(report["server"]["modules"])


def in_server_imports(image: str, *lines: str) -> str:
    """What lines print in a process that has imported the server as `gpubox-singleuser` does."""
    script = [
        "from jupyterlab_gpubox.singleuser import import_server, never_used",
        "from jupyterlab_gpubox.standin import standing_in",
        "with standing_in(never_used()): import_server()",
        *lines,
    ]
    ran = subprocess.run(
        ["docker", "run", "--rm", "--network=none", image, "python", "-c", "\n".join(script)],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_formats_are_checked_as_ever(image: str) -> None:
    told = in_server_imports(
        image,
        "import jsonschema",
        "checker = jsonschema.Draft202012Validator.FORMAT_CHECKER",
        "print(checker.conforms('http://ä.example/', 'iri'), checker.conforms('no iri', 'iri'))",
        "print(checker.conforms('P1D', 'duration'), checker.conforms('one day', 'duration'))",
    )
    assert told.split() == ["True", "False", "True", "False"]


def test_events_are_validated_as_ever(image: str) -> None:
    told = in_server_imports(
        image,
        "import logging, jsonschema, jupyter_events",
        "logger = jupyter_events.EventLogger(handlers=[logging.NullHandler()])",
        "uri = 'https://example.org/box'",
        "gpu = {'type': 'string', 'format': 'uri'}",
        "logger.register_event_schema({'$id': uri, 'version': '1', 'type': 'object',"
        " 'properties': {'gpu': gpu}, 'required': ['gpu']})",
        "for data in ({'gpu': 'nvidia:0'}, {'gpu': 7}, {}):",
        "    try: print('sent' if logger.emit(schema_id=uri, data=data) else 'not sent')",
        "    except jsonschema.ValidationError: print('refused')",
    )
    assert told.splitlines() == ["sent", "refused", "refused"]


def test_extensions_of_a_users_own_get_the_real_modules(image: str) -> None:
    told = in_server_imports(
        image,
        "import sqlalchemy, requests, jupyterhub.orm, jupyterhub.handlers, jupyterhub.scopes",
        "engine = sqlalchemy.create_engine('sqlite://')",
        "print(engine.connect().scalar(sqlalchemy.text('select 41 + 1')), requests.Session.__name__)",
        "print(jupyterhub.scopes.orm.User is jupyterhub.orm.User)",
        "print(len(jupyterhub.handlers.default_handlers) > 9)",
    )
    assert told.split() == ["42", "Session", "True", "True"]


def test_jupyterlabs_extension_manager_has_a_working_http_client(image: str) -> None:
    told = in_server_imports(
        image,
        "import asyncio",
        "from jupyterlab.extensions.pypi import PyPIExtensionManager",
        "client = PyPIExtensionManager()._httpx_client",
        "import httpx",
        "async def main():",
        "    try: await client.get('http://127.0.0.1:1/')",
        "    except httpx.ConnectError: print('refused')",
        "    await client.aclose()",
        "    print(client.is_closed)",
        "asyncio.run(main())",
    )
    assert told.split() == ["refused", "True"]


def test_changes_of_notebooks_are_shown_as_ever(image: str) -> None:
    told = in_server_imports(
        image,
        "import nbformat",
        "from jupyterlab_git_core import git",
        "old, cell = nbformat.v4.new_notebook(), nbformat.v4.new_raw_cell('x')",
        "new = nbformat.v4.new_notebook(cells=[cell])",
        "print([change['op'] for change in git.diff_notebooks(old, new)])",
    )
    assert told == "['patch']"
