"""Stand-ins: what imports them keeps working, and the real modules come when they are asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from jupyterlab_gpubox.standin import Later, MadeLater, StandIn, standing_in


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package whose import is to be avoided; it has a submodule `grammar`."""
    package = tmp_path / "slow_to_import"
    package.mkdir()
    (package / "__init__.py").write_text(
        "class Box:\n    def __init__(self, size): self.size = size\ndef parse(word): return word.upper()\n"
    )
    (package / "grammar.py").write_text("from slow_to_import import parse\nrules = [parse('a')]\n")
    (tmp_path / "user_of_it.py").write_text(
        "import slow_to_import as slow\nfrom slow_to_import.grammar import Refusal\n"
        "def work(): return slow.parse('x')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield package.name
    for name in [name for name in sys.modules if name.startswith((package.name, "user_of_it"))]:
        del sys.modules[name]


def modules(slow: str) -> list[StandIn]:
    return [StandIn(slow), StandIn(f"{slow}.grammar", Refusal=type("Refusal", (Exception,), {}))]


def is_real(name: str) -> bool:
    return name in sys.modules and not isinstance(sys.modules[name], StandIn)


def test_an_importer_gets_the_stand_in_and_the_real_module_when_it_works(slow: str) -> None:
    with standing_in(modules(slow)):
        user = importlib.import_module("user_of_it")
    assert not is_real(slow)
    assert user.work() == "X"
    assert is_real(slow)


def test_after_the_block_import_imports(slow: str) -> None:
    with standing_in(modules(slow)):
        importlib.import_module("user_of_it")
    assert slow not in sys.modules
    assert importlib.import_module(f"{slow}.grammar").rules == ["A"]


def test_a_name_that_is_asked_for_within_the_block_is_the_real_one(slow: str) -> None:
    with standing_in(modules(slow)):
        stand_in = importlib.import_module(slow)
        assert stand_in.parse("x") == "X"
        assert is_real(slow)
        # The others have gone with it: real modules must not be built upon stand-ins.
        assert importlib.import_module(f"{slow}.grammar").rules == ["A"]


def test_a_name_that_neither_has_is_an_import_error(slow: str) -> None:
    with standing_in(modules(slow)), pytest.raises(ImportError):
        exec(f"from {slow} import nonsense")


def test_a_loaded_module_is_left_where_it_is(slow: str) -> None:
    real = importlib.import_module(slow)
    with standing_in(modules(slow)):
        assert importlib.import_module(slow) is real
    assert sys.modules[slow] is real


def test_nothing_stands_in_for_what_is_not_installed() -> None:
    with standing_in([StandIn("no_such_package")]), pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_package")


def test_an_error_in_the_block_leaves_no_stand_in_behind(slow: str) -> None:
    with pytest.raises(ZeroDivisionError), standing_in(modules(slow)):
        _ = 1 / 0
    assert not any(isinstance(module, StandIn) for module in sys.modules.values())


def test_tools_that_look_at_every_module_load_nothing(slow: str) -> None:
    with standing_in(modules(slow)):
        stand_in = sys.modules[slow]
        assert not hasattr(stand_in, "__file__")
        assert not hasattr(stand_in, "__path__")
        assert isinstance(stand_in, ModuleType)
        assert sys.modules[slow] is stand_in


def test_a_function_is_imported_when_it_is_called(slow: str) -> None:
    parse = Later(slow, "parse")
    assert not is_real(slow)
    assert parse("x") == "X"
    assert parse.__name__ == "parse"


def test_an_object_is_made_once_when_it_is_looked_at(slow: str) -> None:
    box = MadeLater(slow, "Box", size=3)
    assert not is_real(slow)
    assert box.size == 3
    importlib.import_module(slow).Box = None
    assert box.size == 3
