"""The tutorials: each runs from top to bottom in the image, with no network, and draws something."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

TUTORIALS = Path(__file__).parents[2] / "images" / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
# In the box: the notebook comes in on standard input, and goes out with its outputs on standard output.
EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.stdin, as_version=4)
nbformat.validate(notebook)
nbclient.NotebookClient(notebook, timeout=240, allow_errors=True).execute()
nbformat.write(notebook, sys.stdout)
"""


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_from_top_to_bottom_and_draws(image: str, file: Path) -> None:
    box = ["docker", "run", "--rm", "--init", "--interactive", "--network=none", image]
    ran = subprocess.run(
        [*box, "python", "-c", EXECUTE], input=file.read_text(), capture_output=True, text=True, timeout=350
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    cells = code_cells(json.loads(ran.stdout))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert [output for output in outputs if "image/png" in output.get("data", {})]
    # What a reader would take for trouble: warnings that are printed in red.
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]


def test_there_are_seven_and_the_index_names_each() -> None:
    names = [file.stem for file in NOTEBOOKS]
    assert [name[:2] for name in names] == [f"0{number}" for number in range(1, 8)]
    assert re.findall(r"\]\((\S+)\.ipynb\)", (TUTORIALS / "README.md").read_text()) == names


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_kept_without_outputs_and_for_the_images_kernel(file: Path) -> None:
    notebook = json.loads(file.read_text())
    assert notebook["nbformat"] == 4
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in code_cells(notebook):
        assert cell["outputs"] == [] and cell["execution_count"] is None
    source = "\n".join("".join(cell["source"]) for cell in code_cells(notebook))
    assert len(re.findall(r"^SMALL = ", source, re.MULTILINE)) == 1
    assert notebook["cells"][0]["source"][0].startswith("# ")
    assert max(map(len, source.splitlines())) <= 110
