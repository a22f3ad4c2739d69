"""The real parts that tests run against: engine, image, database server, browser, hub."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = [
    # In the order in which they import each other.
    "fixtures.hub",
    "fixtures.clock",
    "fixtures.parts",
    "fixtures.jupyter",
    "fixtures.panel",
    "fixtures.postgres",
    "fixtures.browser",
    "fixtures.desktop",
    "fixtures.engine",
    "fixtures.registry",
    "fixtures.libvirt",
]


class BySharedParts(LoadScopeScheduling):
    """Gives each process whole modules: what a module's tests share is set up once."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::", 1)[0]
        # These share an image, which the last of them removes.
        return SIMULATED if module.startswith(SIMULATED) else module


SIMULATED = "tests/simgpu/"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySharedParts:
    """For as many processes as ``make test`` has JOBS."""
    return BySharedParts(config, log)
