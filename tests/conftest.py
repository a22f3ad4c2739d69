"""The real parts that tests run against: engine, image, database server, browser, hub."""

from pathlib import Path
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
        return next((shared for shared, modules in SHARED.items() if module.startswith(modules)), module)


SHARED = {
    "an image, which the last of them removes": ("tests/simgpu/",),
    # Two libvirts take each other's firewall rules for their own.
    "libvirt": ("tests/hub/test_vm", "tests/engines/test_disks"),
}


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySharedParts:
    """For as many processes as ``make test`` has JOBS."""
    return BySharedParts(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a real GPU where there is none; ``-m gpu`` asks for it all the same."""
    if Path("/proc/driver/nvidia/gpus").is_dir() or "gpu" in config.getoption("-m"):
        return
    left_out = [item for item in items if item.get_closest_marker("gpu")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
