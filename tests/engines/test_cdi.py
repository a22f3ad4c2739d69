"""What a kept machine's CDI device is made of, as files in a folder: no engine needed."""

import json
from types import SimpleNamespace

import pytest

from gpubox.engines import Box, cdi
from gpubox.engines.cdi import NotDescribed, SpecFiles
from gpubox.engines.keeping import KeepingSpawner

# As nvidia-ctk writes it, shortened.
NVIDIA = """
cdiVersion: 0.6.0
kind: nvidia.com/gpu
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
  deviceNodes: [{path: /dev/nvidiactl}]
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib]
  mounts:
  - {hostPath: /usr/lib/libcuda.so, containerPath: /usr/lib/libcuda.so, options: [ro, bind]}
devices:
- {name: GPU-1, containerEdits: {deviceNodes: [{path: /dev/nvidia0}], additionalGids: [44]}}
- {name: GPU-2, containerEdits: {deviceNodes: [{path: /dev/nvidia1}]}}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nvidia.yaml").write_text(NVIDIA)
    (tmp_path / "etc" / "broken.yaml").write_text("kind: [")
    return SpecFiles([tmp_path / "etc", tmp_path / "run"])


def edits(files, tmp_path, name="hub-box"):
    spec = json.loads((tmp_path / "run" / f"gpubox-{name}.json").read_text())
    (device,) = spec["devices"]
    assert (spec["kind"], device["name"]) == (cdi.KIND, name)
    return spec, device["containerEdits"]


def test_several_gpus_are_one_device_with_all_that_the_vendor_does_for_them(files, tmp_path):
    files.write("hub-box", ["GPU-1", "GPU-2"], {"A": "b=c"})
    spec, found = edits(files, tmp_path)
    assert spec["cdiVersion"] == "0.6.0"
    assert [node["path"] for node in found["deviceNodes"]] == [
        "/dev/nvidiactl",
        "/dev/nvidia0",
        "/dev/nvidia1",
    ]
    assert len(found["hooks"]) == len(found["mounts"]) == 1
    assert (found["env"], found["additionalGids"]) == (["NVIDIA_VISIBLE_DEVICES=void", "A=b=c"], [44])
    assert files.environment("hub-box") == {"NVIDIA_VISIBLE_DEVICES": "void", "A": "b=c"}


def test_a_later_directory_comes_before_an_earlier_one(files, tmp_path):
    (tmp_path / "run" / "nvidia.yaml").write_text(NVIDIA.replace("/dev/nvidia0", "/dev/new"))
    files.write("hub-box", ["GPU-1"], {})
    _, found = edits(files, tmp_path)
    assert found["deviceNodes"][-1] == {"path": "/dev/new"}


def test_a_gpu_that_nobody_describes_is_told_and_nothing_is_written(files):
    with pytest.raises(NotDescribed, match=r"GPU-3 is in no CDI specification .* nvidia-ctk cdi generate"):
        files.write("hub-box", ["GPU-3"], {})
    assert files.written("hub") == {}


def test_a_machine_without_gpu_needs_no_vendor(files, tmp_path):
    files.write("hub-box", [], {"A": "b"})
    _, found = edits(files, tmp_path)
    assert found == {"env": ["A=b"]}


def test_what_is_withdrawn_is_gone_and_may_be_gone_already(files):
    files.write("hub-box", [], {"A": "b"})
    files.write("other-box", [], {"A": "b"})
    assert files.written("hub-").keys() == {"hub-box"}
    files.withdraw("hub-box")
    files.withdraw("hub-box")
    assert files.written("").keys() == {"other-box"} and files.environment("hub-box") == {}


class StandIn:
    """In place of a spawner that asks its engine what runs, and of what happens until the answer is there."""

    withdraw_unused = KeepingSpawner.withdraw_unused

    def __init__(self, files, runs, meanwhile):
        self._files, self._runs, self._meanwhile = files, runs, meanwhile
        machines = [SimpleNamespace(persistent=True)]
        self.gpuhub = SimpleNamespace(machines=machines, pool=SimpleNamespace(hub_id="hub"))

    async def _spec_files(self):
        return self._files

    def _names_on_their_way(self):
        return set()

    async def boxes(self, hub_id):
        self._meanwhile()
        return [Box(name, name, "ada", "", "h100", running=True, kept=name) for name in self._runs]


async def test_what_a_machine_has_that_started_while_the_engine_was_asked_stays(files):
    for name in ("hub-ended", "hub-runs", "hub-again", "other-hubs"):
        files.write(name, [], {})

    def start():
        files.write("hub-new", [], {})
        files.write("hub-again", [], {})

    await StandIn(files, ["hub-runs"], start).withdraw_unused()
    assert files.written("").keys() == {"hub-runs", "hub-new", "hub-again", "other-hubs"}


def test_without_a_directory_to_write_to_there_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError):
        SpecFiles([tmp_path / "file" / "cdi"])
    with pytest.raises(PermissionError):
        SpecFiles([])
