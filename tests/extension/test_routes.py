"""What a real Jupyter server with the extension answers, over the simulated driver."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from websocket import ABNF, WebSocketBadStatusException

from fixtures.jupyter import JupyterServer, Start, next_frame
from fixtures.waiting import until
from simgpu import SimulatedLibrary

API = "gpubox/api/"


@pytest.fixture(scope="module")
def driver() -> Iterator[SimulatedLibrary]:
    with SimulatedLibrary("2xH100") as driver:
        yield driver


@pytest.fixture(scope="module")
def server(start_jupyter: Start, driver: SimulatedLibrary) -> JupyterServer:
    return start_jupyter(driver)


@pytest.fixture(scope="module")
def document(server: JupyterServer) -> dict[str, Any]:
    """The OpenAPI document that the server serves."""
    return server.get(API + "openapi.json")


def matches(document: dict[str, Any], schema: str, told: Any) -> None:
    """Fails where what was told is not what the document says, or more than it says."""
    closed = json.loads(json.dumps(document["components"]["schemas"]))
    for each in closed.values():
        if "properties" in each:
            each["additionalProperties"] = False
    jsonschema.validate(told, {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": closed}})


def test_the_first_question_gets_figures(server, driver, document):
    driver.gpus[1].set(utilisation=97, memory_used_mib=41234, power_mw=612_400, temperature=61)

    told = until(lambda: _figure(server, 1, "utilisation_percent") == 97 and server.get(API + "gpus"), "97 %")

    matches(document, "GPUs", told)
    assert [gpu["id"] for gpu in told["gpus"]] == [gpu.uuid for gpu in driver.gpus]
    gpu = told["gpus"][1]
    assert (gpu["name"], gpu["memory_total_mib"], gpu["state"]) == ("NVIDIA H100 80GB HBM3", 81559, "ok")
    assert gpu["figures"]["memory_used_mib"] == 41234
    assert gpu["figures"]["power_watts"] == 612.4
    assert told["drivers"][0]["state"] == "ok"


def _figure(server: JupyterServer, gpu: int, name: str) -> Any:
    return server.get(API + "gpus")["gpus"][gpu]["figures"].get(name)


def test_link_counters_are_there_only_when_asked_for(server):
    assert "pcie_tx_kib_per_second" not in server.get(API + "gpus")["gpus"][0]["figures"]
    until(
        lambda: "pcie_tx_kib_per_second" in server.get(API + "gpus?links=1")["gpus"][0]["figures"],
        "link counters are read",
    )


@pytest.mark.parametrize("which", ["fine", "coarse"])
def test_history_has_a_value_a_column_and_time(server, document, which):
    told = server.get(f"{API}history?range={which}")

    matches(document, "History", told)
    assert told["range"] == which
    for columns in told["gpus"].values():
        assert {len(values) for values in columns.values()} <= {len(told["times"])}


def test_a_range_that_there_is_not_gets_a_sentence(server, document):
    answer = server.ask(API + "history?range=<b>week")

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["message"] == "There is no range '<b>week'. There are 'fine' and 'coarse'."


def test_every_route_is_in_the_document_and_the_other_way_round(document):
    from jupyterlab_gpubox.desktop.routes import API as DESKTOP
    from jupyterlab_gpubox.routes import ROUTES

    routes = [*ROUTES, *DESKTOP]
    examples = {re.sub(r"\{\w+\}", "7", path.removeprefix("/")) for path in document["paths"]}
    assert len(examples) == len(routes)
    assert all(any(re.fullmatch(route, path) for path in examples) for route in routes)


@pytest.mark.parametrize("path", ["gpus", "history", "processes", "box", "openapi.json"])
def test_nobody_without_a_token_gets_an_answer(server, path):
    assert server.ask(API + path, token="").status_code == 403
    assert server.ask(API + path, token="0" * 32).status_code == 403
    assert server.ask(API + path).headers["Cache-Control"] == "no-store"


def test_nobody_without_a_token_gets_a_stream(server):
    for token in ("", "0" * 32):
        with pytest.raises(WebSocketBadStatusException) as refused:
            server.stream(token=token)
        assert refused.value.status_code == 403


def test_jupyters_authorizer_is_asked(start_jupyter, driver, tmp_path):
    (tmp_path / "closed.py").write_text(
        "from jupyter_server.auth import Authorizer\n"
        "class Closed(Authorizer):\n"
        "    def is_authorized(self, handler, user, action, resource):\n"
        "        return resource != 'gpubox'\n"
    )
    config = (
        f"import sys; sys.path.append({str(tmp_path)!r})\nc.ServerApp.authorizer_class = 'closed.Closed'\n"
    )
    server = start_jupyter(driver, config)

    assert server.ask("api/kernels").status_code == 200
    for path in ("gpus", "history", "processes", "box", "openapi.json"):
        assert server.ask(API + path).status_code == 403
    with pytest.raises(WebSocketBadStatusException):
        server.stream()


def test_the_stream_tells_all_first_and_then_each_tick(server, driver, document):
    stream = server.stream()
    first = json.loads(stream.recv())
    assert first.pop("type") == "gpus"
    matches(document, "GPUs", first)

    driver.gpus[0].set(utilisation=42)

    tick = next_frame(stream, "tick", lambda frame: frame["values"][0][0] == 42)
    assert len(tick["values"]) == 2
    assert len(tick["values"][0]) == len(first["columns"])
    stream.close()


def test_the_stream_sends_no_pings_which_would_keep_an_idle_server_alive(start_jupyter, driver):
    server = start_jupyter(driver, 'c.ServerApp.tornado_settings = {"ws_ping_interval": 50}\n')
    stream = server.stream()

    opcodes = {stream.recv_data(control_frame=True)[0] for _ in range(20)}

    assert opcodes == {ABNF.OPCODE_TEXT}
    stream.close()


def test_the_stream_tells_at_once_that_a_gpu_is_lost_and_is_back(server, driver):
    stream = server.stream()
    driver.gpus[0].lose()
    lost = next_frame(stream, "gpus", lambda frame: frame["gpus"][0]["state"] == "lost")
    assert lost["gpus"][0]["message"]
    assert lost["gpus"][1]["state"] == "ok"
    driver.gpus[0].recover()
    next_frame(stream, "gpus", lambda frame: frame["gpus"][0]["state"] == "ok")
    stream.close()


def test_what_is_sent_up_the_stream_cannot_break_it(server):
    stream = server.stream()
    for message in ("", "nonsense", "[]", '{"links": "yes"}', '{"links": true}', "null"):
        stream.send(message)
    tick = next_frame(stream, "tick", lambda frame: "links" in frame)
    assert "pcie_tx_kib_per_second" in tick["links"][0]
    stream.send('{"links": false}')
    next_frame(stream, "tick", lambda frame: "links" not in frame)
    stream.close()


def test_a_kernels_process_is_named_after_its_notebook(server, driver, document):
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    server.ask("api/contents/train.ipynb", "PUT", json={"type": "notebook", "content": notebook})
    session = server.ask(
        "api/sessions",
        "POST",
        json={
            "path": "train.ipynb",
            "type": "notebook",
            "name": "train.ipynb",
            "kernel": {"name": "python3"},
        },
    ).json()
    pid = _kernel_pid(server, session["kernel"]["id"])
    stream = server.stream()

    driver.gpus[0].add_process(pid, memory_mib=12595)

    told = next_frame(stream, "processes", lambda frame: frame["processes"])
    del told["type"]
    matches(document, "Processes", told)
    (process,) = told["processes"]
    assert (process["gpu"], process["memory_mib"]) == (driver.gpus[0].uuid, 12595)
    assert process["owner"] == {
        "kind": "kernel",
        "id": session["kernel"]["id"],
        "name": "train.ipynb",
        "path": "train.ipynb",
    }
    driver.gpus[0].remove_process(pid)
    next_frame(stream, "processes", lambda frame: not frame["processes"])
    stream.close()
    server.ask(f"api/sessions/{session['id']}", "DELETE")


def _kernel_pid(server: JupyterServer, kernel: str) -> int:
    """The process that has the kernel's connection file."""
    import psutil

    def found() -> int | None:
        children = psutil.Process(server.pid).children(recursive=True)
        return next((child.pid for child in children if kernel in " ".join(child.cmdline())), None)

    return int(until(found, "the kernel runs"))


def test_metrics_have_the_names_that_dcgms_users_know(server, driver):
    driver.gpus[1].set(utilisation=33, ecc_corrected_volatile=3)

    def lines() -> dict[str, float]:
        text = server.ask("metrics").text
        told = [line.rsplit(" ", 1) for line in text.splitlines() if driver.gpus[1].uuid in line]
        return {name.partition("{")[0]: float(value) for name, value in told}

    found = until(lambda: lines().get("DCGM_FI_DEV_GPU_UTIL") == 33 and lines(), "33 % in /metrics")
    assert found["DCGM_FI_DEV_FB_TOTAL"] == 81559
    assert found["gpubox_gpu_up"] == 1
    until(lambda: lines()["DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"] == 3, "the ECC error in /metrics")
    assert server.ask("metrics", token="").status_code == 403


def test_outside_of_a_gpubox_hub_there_is_no_box(server, document):
    told = server.get(API + "box")

    matches(document, "Box", told)
    assert told == {"box": None}


def test_a_box_tells_its_machine_and_shows_its_own_gpus_alone(start_jupyter, driver, document):
    facts = {
        "machine": "1x-h100",
        "title": '1x "H100" <b>',
        "contents": "PyTorch 2.15",
        "started": 1000.0,
        "ends": None,
        "price_per_hour": 2.5,
        "currency": "€",
        "is_shared": True,
        "gpus": [driver.gpus[1].uuid],
        "of a later version": 1,
    }
    server = start_jupyter(driver, GPUBOX_BOX=json.dumps(facts), JUPYTERHUB_BASE_URL="/lab-3/")

    told = server.get(API + "box")
    matches(document, "Box", told)
    assert told["box"]["title"] == facts["title"]
    assert told["box"]["hub_url"] == "/lab-3/hub/home"
    assert told["box"]["cost"] > 2.5 * 1000
    gpus = server.get(API + "gpus")["gpus"]
    assert [(gpu["id"], gpu["is_shared"]) for gpu in gpus] == [(driver.gpus[1].uuid, True)]


def test_a_box_whose_gpu_is_lost_and_tells_nothing_shows_it(start_jupyter):
    with SimulatedLibrary("2xH100") as driver:
        driver.gpus[0].lose()
        facts = {"machine": "h100", "title": "1x H100", "started": 1000.0, "gpus": [driver.gpus[0].uuid]}
        server = start_jupyter(driver, GPUBOX_BOX=json.dumps(facts))

        (gpu,) = server.get(API + "gpus")["gpus"]

        assert (gpu["index"], gpu["state"]) == (0, "lost")


def test_a_server_with_no_driver_says_so_without_an_error(start_jupyter, document):
    server = start_jupyter(None)

    told = server.get(API + "gpus")

    matches(document, "GPUs", told)
    assert told["gpus"] == []
    assert {driver["state"] for driver in told["drivers"]} == {"none"}
    assert server.get(API + "processes")["processes"] == []
    assert "Traceback" not in server.log()
