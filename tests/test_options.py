"""Every option that an admin may set has help that says its effect and shows an example."""

import ast
import importlib
import inspect
import itertools
import pkgutil
import textwrap

import pytest
from traitlets import HasTraits

import gpubox
import jupyterlab_gpubox


def options():
    """All configurable traits that gpubox's own classes define."""
    packages = (gpubox, jupyterlab_gpubox)
    for module in itertools.chain(*(pkgutil.walk_packages(p.__path__, f"{p.__name__}.") for p in packages)):
        if ".migrations" in module.name:
            continue  # run by Alembic alone
        if module.name == "gpubox.engines.guests":
            continue  # it has no options, and needs libvirt's package
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if cls.__module__ == module.name and issubclass(cls, HasTraits):
                for name, trait in cls.class_own_traits(config=True).items():
                    yield pytest.param(cls, name, trait, id=f"{cls.__name__}.{name}")


OPTIONS = list(options())


def example(trait):
    """The lines after the first ``::``, as far as they are indented like the first of them."""
    _, announced, rest = trait.help.partition("::\n\n")
    assert announced, f"no example: {trait.help}"
    indent = len(rest) - len(rest.lstrip())
    lines = itertools.takewhile(
        lambda line: not line.strip() or line.startswith(" " * indent), rest.split("\n")
    )
    return textwrap.dedent("\n".join(lines))


def test_there_are_options():
    named = {option.id for option in OPTIONS}
    assert {"GPUSpawner.machines", "GPUHub.patience", "GPUPanel.core_seconds"} <= named


@pytest.mark.parametrize(("cls", "name", "trait"), OPTIONS)
def test_help_says_what_the_option_does(cls, name, trait):
    first = inspect.cleandoc(trait.help).split("\n\n")[0]
    assert len(first) > 20
    assert first.rstrip().endswith((".", "::"))


@pytest.mark.parametrize(("cls", "name", "trait"), OPTIONS)
def test_help_shows_an_example_that_sets_it(cls, name, trait):
    (statement,) = ast.parse(example(trait)).body
    assert ast.unparse(statement.targets[0]) == f"c.{cls.__name__}.{name}"


@pytest.mark.parametrize(("cls", "name", "trait"), OPTIONS)
def test_the_example_is_a_value_that_the_option_takes(cls, name, trait):
    (statement,) = ast.parse(example(trait)).body
    value = eval(compile(ast.Expression(statement.value), "example", "eval"), {})
    assert trait._validate(cls.__new__(cls), value) is not None
