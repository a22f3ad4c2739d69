"""Stand-ins: modules and objects in the place of real ones that are slow to import and seldom used.

The mechanism only. What stands in for what, and why, is said by whoever uses it (singleuser.py).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class StandIn(ModuleType):
    """A module's place in `sys.modules`, with only the names that its importers take at once.

    Any other name is the real module's, which is imported then.
    """

    def __init__(self, name: str, /, **names: Any) -> None:
        super().__init__(name)
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system and `inspect` look for these on any module
            raise AttributeError(name)
        withdraw()
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def standing_in(modules: Sequence[StandIn]) -> Iterator[None]:
    """Within this block `import` finds these stand-ins, unless the real module is loaded already or not
    installed at all. After the block it finds the real ones; who imported a stand-in keeps it."""
    absent = [module for module in modules if module.__name__ not in sys.modules]
    installed = {package for package in {_package(module) for module in absent} if find_spec(package)}
    try:
        sys.modules.update({m.__name__: m for m in absent if _package(m) in installed})
        yield
    finally:
        withdraw()


def withdraw() -> None:
    """Take all stand-ins out of the import system: from here on, `import` imports."""
    for name in [name for name, module in sys.modules.items() if isinstance(module, StandIn)]:
        del sys.modules[name]


def _package(module: StandIn) -> str:
    return module.__name__.partition(".")[0]


class Later:
    """`Later(module, name)` is that function of that module, imported when it is first used."""

    def __init__(self, module: str, name: str) -> None:
        self._source = module, name

    def _fetch(self) -> Any:
        module, name = self._source
        return getattr(importlib.import_module(module), name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @cached_property
    def _real(self) -> Any:
        return self._fetch()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real(*args, **kwargs)


class MadeLater(Later):
    """The object that a class makes with these arguments, made when it is first looked at."""

    def __init__(self, module: str, name: str, **kwargs: Any) -> None:
        super().__init__(module, name)
        self._kwargs = kwargs

    def _fetch(self) -> Any:
        return super()._fetch()(**self._kwargs)
