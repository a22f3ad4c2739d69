"""The real parts that tests run against: engine, image, database server, browser, hub."""

from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

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
    """Gives each process whole modules: what a module's tests share is set up once.

    Virtual machines come last, in the process that is busy longest, when the others have next to nothing left
    to do: they are emulated, and boot in a minute on idle processors only.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::", 1)[0]
        return next((shared for shared, modules in SHARED.items() if module.startswith(modules)), module)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if MACHINES in self.workqueue:
            self.workqueue.move_to_end(MACHINES)
        is_busy = any(other is not node and not other.shutting_down for other in self.nodes)
        if list(self.workqueue) == [MACHINES] and is_busy:
            node.shutdown()  # after what it has
        else:
            super()._assign_work_unit(node)


MACHINES = "libvirt"
SHARED = {
    "an image, which the last of them removes": ("tests/simgpu/",),
    # Two libvirts take each other's firewall rules for their own.
    MACHINES: ("tests/hub/test_vm", "tests/engines/test_disks"),
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
