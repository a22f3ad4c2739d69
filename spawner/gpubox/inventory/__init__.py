"""Which GPUs exist. Each vendor's module returns `GPU` records; who may hold them is ``pool``'s."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class GPU:
    """One GPU, or one MIG slice, which is a GPU of its own.

    ``memory_mib`` is None where the GPU has no memory of its own (unified memory). ``links`` tells
    how close other GPUs are, by UUID: the higher the closer. ``problem`` is empty for a GPU in
    order, else a sentence that says what is wrong with it.
    """

    uuid: str
    model: str
    memory_mib: int | None = None
    index: int = 0
    mig_profile: str | None = None
    parent: str | None = None
    links: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Inventory:
    """What one look at the machine found.

    ``problem`` is a sentence when the driver itself cannot be asked (not installed, mismatched);
    then ``gpus`` is empty. ``answered`` tells "no driver here" (True, nothing to ask) from "the
    driver failed" (False: what it knew before may still be there).
    """

    gpus: tuple[GPU, ...] = ()
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None
    problem: str = ""
    answered: bool = True
    silent: tuple[str, ...] = ()


@functools.lru_cache
def model_words(model: str) -> frozenset[str]:
    """The words of a model name, for matching: ``A100`` is in ``NVIDIA A100-SXM4-80GB``, not ``A1000``."""
    return frozenset(re.findall(r"[a-z0-9]+", model.lower()))


_VENDOR_WORDS = {"nvidia", "geforce", "tesla", "amd", "radeon", "instinct"}
_FORM_WORDS = re.compile(r"(\d+gb|sxm\d*|pcie|hbm\d\w*|nvl|mig|generation|ada)", re.I)


def short_model(model: str) -> str:
    """What people call it: ``H100`` for ``NVIDIA H100 80GB HBM3``, ``RTX 4090`` for ``GeForce RTX 4090``."""
    words = [word for word in re.split(r"[\s_-]+", model) if word.lower() not in _VENDOR_WORDS]
    kept = [word for word in words if not _FORM_WORDS.fullmatch(word)]
    return " ".join(kept or words) or model
