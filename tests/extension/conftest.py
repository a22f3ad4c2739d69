"""A box beside a stand-in for the hub's service: a Jupyter server that takes itself for one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from extension.service_stand_in import TOKEN, StandInService
from fixtures.jupyter import JupyterServer


class Lab(JupyterServer):
    expose_app = True


@pytest.fixture(scope="module")
def service() -> Iterator[StandInService]:
    """What the box speaks with."""
    service = StandInService().start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def start_lab(
    tmp_path_factory: pytest.TempPathFactory, service: StandInService
) -> Iterator[Callable[[dict[str, Any]], Lab]]:
    """Starts JupyterLab as the box that the hub describes so."""
    labs: list[Lab] = []

    def start_lab(box: dict[str, Any]) -> Lab:
        told = json.dumps({**box, "service": service.url})
        config = "c = get_config()\nc.LabApp.news_url = None\n"
        home = tmp_path_factory.mktemp("lab")
        labs.append(Lab(home, None, config=config, GPUBOX_BOX=told, JUPYTERHUB_API_TOKEN=TOKEN))
        return labs[-1].start()

    yield start_lab
    for lab in labs:
        lab.stop()
