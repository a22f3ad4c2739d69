"""What an image will hold, in words for its label: read from what it is built from, before it is built.

The image's own manifest, written at its build, tells all of it; a label is what pages can read without
starting a container.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LOCKS = {"cpu": ("cpu",), "cuda": ("cuda", "cuda-tf"), "cuda12": ("cuda12",), "server": ("server",)}
"""The lock files of each target, that of ``/opt/ml`` first."""

_FRAMEWORKS = {
    "PyTorch": ("torch",),
    "TensorFlow": ("tensorflow", "tensorflow-cpu"),
    "JAX": ("jax",),
    "Keras": ("keras",),
}
_CUDA = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")


@dataclass(frozen=True)
class Contents:
    """The frameworks of an image, such as "PyTorch 2.15, JAX 0.12", and its CUDA, empty where it has none."""

    frameworks: str
    cuda: str = ""

    @property
    def words(self) -> str:
        """All of it."""
        return f"{self.frameworks}, CUDA {self.cuda}" if self.cuda else self.frameworks


def contents(images: Path, target: str) -> Contents:
    """What a target of ``images/Dockerfile`` will hold."""
    dockerfile = (images / "Dockerfile").read_text()
    locks = [(images / "locks" / f"{name}.lock").read_text() for name in LOCKS[target]]
    return describe(locks, debians_torch=_argument(dockerfile, "TORCH") if target == "cpu" else "")


def describe(locks: list[str], *, debians_torch: str = "") -> Contents:
    """The contents of these locks; PyTorch's version where Debian brings it and no lock names it."""
    versions = {"torch": debians_torch} if debians_torch else {}
    for lock in reversed(locks):  # what the first has wins
        versions |= dict(re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE))
    found = {
        name: next((versions[package] for package in packages if package in versions), None)
        for name, packages in _FRAMEWORKS.items()
    }
    cuda = next((versions[package] for package in _CUDA if package in versions), "")
    return Contents(
        ", ".join(f"{name} {_minor(version)}" for name, version in found.items() if version), _minor(cuda)
    )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _argument(dockerfile: str, name: str) -> str:
    found = re.search(rf"^ARG {name}=(\S+)$", dockerfile, re.MULTILINE)
    assert found, f"images/Dockerfile has no ARG {name}"
    return found[1]
