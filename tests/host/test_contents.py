"""What an image will hold is read from its locks, before it is built."""

from pathlib import Path

import pytest

from gpubox.host.contents import LOCKS, contents, describe
from gpubox.host.image import TARGETS

IMAGES = Path(__file__).parents[2] / "images"


def test_frameworks_come_in_order_and_without_patch_level():
    lock = "jax==0.12.1 \\\n    --hash=sha256:0\ntensorflow-cpu==2.21.0 \\\ntorch==2.15.3\nnumpy==2.5.5\n"
    assert describe([lock]).words == "PyTorch 2.15, TensorFlow 2.21, JAX 0.12"


def test_cuda_is_that_of_the_first_environment():
    ml, tf = (
        "torch==2.15.0\nnvidia-cuda-runtime==13.2.86\n",
        "nvidia-cuda-runtime-cu12==12.9.79\nkeras==3.1\n",
    )
    found = describe([ml, tf])
    assert (found.words, found.cuda) == ("PyTorch 2.15, Keras 3.1, CUDA 13.2", "13.2")


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_says_what_it_holds(target):
    found = contents(IMAGES, target)
    assert all(name in found.words for name in ("PyTorch", "TensorFlow", "JAX", "Keras"))
    assert bool(found.cuda) == target.startswith("cuda")


def test_every_target_has_its_locks_and_its_stage():
    dockerfile = (IMAGES / "Dockerfile").read_text()
    # `server` is no image: disks of virtual machines are made of it.
    assert set(LOCKS) == {*TARGETS, "server"}
    for target, locks in LOCKS.items():
        assert f" AS {target}\n" in dockerfile
        assert all((IMAGES / "locks" / f"{name}.lock").is_file() for name in locks)
