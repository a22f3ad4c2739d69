"""The simulated driver: GPUs that a test makes up, changes while programs run, and takes away again."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .gpu import SimulatedGPU
from .library import build_library
from .models import Wish, parse
from .nodes import (
    CAPS_DIRECTORY,
    CDI_DIRECTORY,
    CONTROL,
    Node,
    SimulationRefused,
    cdi_spec,
    free_minors,
    nodes_of,
    refuse_beside_a_real_driver,
)
from .state import ERRORS, Part, Value, write_state
from .topology import connect

if TYPE_CHECKING:
    from typing import Self

RUN_DIRECTORY = Path("/run/simgpu")
_XID = 8  # nvmlEventTypeXidCriticalError
_EVENTS_KEPT = 64
_NO_INSTANCE = 0xFFFFFFFF


class SimulatedLibrary:
    """The NVML library and its GPUs, for programs that get its `environment`. Touches nothing outside a
    temporary directory and needs no rights; every such program sees all of the GPUs.

    ``with SimulatedLibrary("2xH100") as driver: driver.gpus[0].set(utilisation=97)``
    """

    _with_nodes = 0

    def __init__(self, specification: str) -> None:
        self.specification = specification
        self.gpus: tuple[SimulatedGPU, ...] = ()
        self._wishes: tuple[Wish, ...] = parse(specification)
        self._directory: Path | None = None
        self._failures: dict[str, Value] = {}
        self._costs: dict[str, Value] = {}
        self._events: list[str] = []
        self._sequence = 0
        self._process = os.getpid()
        self.values: dict[str, Value] = {
            "version": "580.95-simulated",
            "nvml_version": "13.580.95.05",
            "cuda_version": 13000,
            "host_pids": 0,
            "namespace": os.stat("/proc/self/ns/pid").st_ino,
        }

    # --- there and away again ----------------------------------------------------------------

    def install(self) -> Self:
        """Makes the GPUs; a driver that is installed stays as it is."""
        if self._directory is None:
            self._library = build_library()
            self._directory = Path(tempfile.mkdtemp(prefix="simgpu-"))
            self._directory.chmod(0o755)
            self._make_gpus(range(len(self._wishes)))
            self._changed()
        return self

    def uninstall(self) -> None:
        """Removes all that `install` made; may be called again. Programs that run lose the driver."""
        if self._directory is not None and self._process == os.getpid():
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> Self:
        atexit.register(self.uninstall)
        return self.install()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.uninstall()
        atexit.unregister(self.uninstall)

    def environment(self) -> dict[str, str]:
        """What a program on this machine needs in its environment to find the library and the state."""
        assert self._directory is not None, "install() first"
        paths = filter(None, [str(self._library.parent), os.environ.get("LD_LIBRARY_PATH")])
        return {"LD_LIBRARY_PATH": ":".join(paths), "SIMGPU_STATE": str(self._directory / "state")}

    # --- what befalls the driver as a whole ----------------------------------------------------

    def set(self, **values: Value) -> None:
        """Changes ``version``, ``cuda_version`` (12040 for 12.4) or ``host_pids`` (1: an older driver)."""
        unknown = values.keys() - self.values.keys()
        if unknown:
            raise KeyError(f"No such figure: {sorted(unknown)}. There are {sorted(self.values)}.")
        self.values.update(values)
        self._changed()

    def fail(self, call: str, error: str = "UNKNOWN") -> None:
        """The NVML function ``call`` answers an error of NVIDIA's naming, on every GPU."""
        self._failures[f"fail.{call}"] = ERRORS[error]
        self._changed()

    def hang(self, call: str, seconds: float) -> None:
        """The NVML function ``call``, of those that take no GPU, such as nvmlInit, takes so long."""
        self._failures[f"hang.{call}"] = int(seconds * 1000)
        self._changed()

    def cost(self, call: str, microseconds: int) -> None:
        """The NVML function ``call`` (without version) takes so long on every GPU, as a real one does."""
        self._costs[f"cost.{call}"] = microseconds
        self._changed()

    def unload(self) -> None:
        """The kernel module is not loaded: nvmlInit says so."""
        self.fail("nvmlInit", "DRIVER_NOT_LOADED")

    def mismatch(self) -> None:
        """The driver was updated under a running kernel module: nvmlInit says so."""
        self.fail("nvmlInit", "LIB_RM_VERSION_MISMATCH")

    def recover(self) -> None:
        """Undoes `fail`, `hang`, `unload` and `mismatch`."""
        self._failures.clear()
        self._changed()

    def xid(self, gpu: SimulatedGPU, code: int) -> None:
        """The driver reports an Xid error on a GPU to whoever waits for events."""
        self._sequence += 1
        line = f"{self._sequence} {gpu.minor} {_XID} {code} {_NO_INSTANCE} {_NO_INSTANCE}"
        self._events = [*self._events, line][-_EVENTS_KEPT:]
        self._changed()

    def _make_gpus(self, minors: range) -> None:
        pairs = zip(self._wishes, minors, strict=True)
        self.gpus = tuple(SimulatedGPU(wish, minor, self._changed) for wish, minor in pairs)
        connect(self.gpus, self._wishes)

    def _changed(self) -> None:
        if self._directory is None:
            return
        head: dict[str, Any] = {**self.values, "device_nodes": self._with_nodes}
        head |= {**self._costs, **self._failures}
        if self._events:
            head["event"] = self._events
        parts: list[Part] = [("driver", head), *(part for gpu in self.gpus for part in gpu.parts())]
        write_state(self._directory / "state", parts)


class SimulatedDriver(SimulatedLibrary):
    """A simulated driver installed on this machine: device nodes and a CDI specification besides, so that
    a container engine hands out single GPUs. Needs root.

    Several may be there at once, for tests that run side by side: each has its own GPUs, numbers and
    UUIDs, and the first alone has the CDI name ``all``. What a killed run left is removed by the
    next one.
    """

    _with_nodes = 1

    def __init__(self, specification: str) -> None:
        super().__init__(specification)
        self._nodes: list[Node] = []
        self._owner: int | None = None
        self._offers_all = False

    def install(self) -> Self:
        """Makes device nodes, state and CDI specification. Raises `SimulationRefused`."""
        if self._directory is not None:
            return self
        refuse_beside_a_real_driver()
        if os.geteuid() != 0:
            raise SimulationRefused("Device nodes need root; SimulatedLibrary does without them.")
        self._library = build_library()
        with _one_at_a_time():
            others = _remove_the_dead()
            self._offers_all = not any(
                json.loads(owner.read_text()).get("offers_all", True) for owner in others
            )
            self._make_gpus(free_minors(len(self._wishes)))
            self._directory = Path(tempfile.mkdtemp(prefix="driver-", dir=RUN_DIRECTORY))
            self._directory.chmod(0o755)
            try:
                self._changed()
            except BaseException:
                self._remove()
                raise
        return self

    def uninstall(self) -> None:
        if self._directory is not None and self._process == os.getpid():
            with _one_at_a_time():
                self._remove()

    def _remove(self) -> None:
        assert self._directory is not None
        _remove_driver(self._owner_file)
        if self._owner is not None:
            os.close(self._owner)
        self._owner = self._directory = None
        self._nodes = []

    @property
    def _owner_file(self) -> Path:
        assert self._directory is not None
        return self._directory.with_suffix(".owner")

    def _changed(self) -> None:
        super()._changed()
        if self._directory is None:
            return
        wanted = [node for gpu in self.gpus for node in nodes_of(gpu)]
        if wanted == self._nodes:
            return
        self._own(wanted)
        for node in [CONTROL, *wanted]:
            node.make()
        for node in self._nodes:
            if node not in wanted:
                Path(node.path).unlink(missing_ok=True)
        self._nodes = wanted
        spec = cdi_spec(self.gpus, self._library, self._directory / "state", offer_all=self._offers_all)
        _replace(_cdi_file(self._directory), spec)

    def _own(self, nodes: list[Node]) -> None:
        """Writes down what is ours before it is made. The lock on the file is held while we live."""
        if self._owner is None:
            self._owner = os.open(self._owner_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._owner, fcntl.LOCK_EX)
        paths = [node.path for node in {*nodes, *self._nodes}]
        content = json.dumps({"nodes": paths, "offers_all": self._offers_all}).encode()
        os.ftruncate(self._owner, 0)
        os.pwrite(self._owner, content, 0)


def _cdi_file(directory: Path) -> Path:
    return CDI_DIRECTORY / f"simgpu-{directory.name}.json"


def _replace(path: Path, content: str) -> None:
    """Writes a specification in one rename; the engine reads only names that end in .json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(content)
    scratch.replace(path)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    RUN_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    with open(RUN_DIRECTORY / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_the_dead() -> list[Path]:
    """Removes drivers whose owner has died; the owner files of those that live are returned."""
    living = []
    for owner in sorted(RUN_DIRECTORY.glob("*.owner")):
        with open(owner) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                living.append(owner)
                continue
            _remove_driver(owner)
    return living


def _remove_driver(owner: Path) -> None:
    """Removes a driver's specification, nodes and state, and with the last driver what all share."""
    directory = owner.with_suffix("")
    _cdi_file(directory).unlink(missing_ok=True)
    if owner.exists():
        for path in json.loads(owner.read_text() or '{"nodes": []}')["nodes"]:
            Path(path).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
    owner.unlink(missing_ok=True)
    if not any(RUN_DIRECTORY.glob("*.owner")):
        Path(CONTROL.path).unlink(missing_ok=True)
        if CAPS_DIRECTORY.is_dir() and not any(CAPS_DIRECTORY.iterdir()):
            CAPS_DIRECTORY.rmdir()
