"""The proof in the image: every framework works with no network, and one that does not is told in a row."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROOF = Path(__file__).parents[2] / "images" / "proof"
PLACE = "/usr/local/share/gpubox/proof"
CHECK = f"{PLACE}/gpubox-check"


def in_box(
    image: str, *command: str, options: tuple[str, ...] = (), timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """What became of a command in a new container without a network, in which the proof is read-only."""
    box = (
        "docker",
        "run",
        "--rm",
        "--init",
        "--network=none",
        f"--volume={PROOF}:{PLACE}:ro",
        *options,
        image,
    )
    return subprocess.run([*box, *command], capture_output=True, text=True, timeout=timeout)


# --- the whole ---------------------------------------------------------------------------------------


@pytest.mark.timeout(700)
def test_every_framework_of_the_image_works(image: str) -> None:
    ran = in_box(image, CHECK, "--json", timeout=600)
    report = json.loads(ran.stdout)
    wrong = {row["name"]: row["sentence"] for row in report["rows"] if not row["ok"]}
    assert not wrong, ran.stdout
    assert ran.returncode == 0 and report["ok"]
    listed = in_box(image, CHECK, "--list").stdout.splitlines()
    assert [row["name"] for row in report["rows"]] == listed
    assert {"NumPy", "PyTorch", "TensorFlow", "Keras (jax)", "Caffe", "Torch7 models (OpenCV)"} <= set(listed)
    assert not [row["name"] for row in report["rows"] if not row["version"] and row["name"] != "kernels"]
    print(f"proof: {len(listed)} rows in {report['seconds']} s")


# --- what is broken ----------------------------------------------------------------------------------

BROKEN = {
    "lightgbm": "raise ImportError('libgomp.so.1: cannot open shared object file: No such file')",
    "pandas": "raise RuntimeError('somebody broke it')",
    "xgboost": "import ctypes; ctypes.string_at(0)",
    "scipy": "import os; print('last words'); os._exit(7)",
    "PIL": "import sys; sys.exit('gone')",
    "cv2": "import time; time.sleep(600)",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options of a box in which some packages are broken, each in its own way."""
    folder = tmp_path_factory.mktemp("broken")
    folder.chmod(0o755)
    for name, content in BROKEN.items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"{content}\n")
    return (f"--volume={folder}:/broken:ro", "--env=PYTHONPATH=/broken")


ONLY = ("--only", "numpy", "lightgbm", "pandas", "xgboost", "scipy", "pillow", "opencv", "--timeout", "20")


@pytest.fixture(scope="module")
def verdicts(image: str, broken: tuple[str, ...]) -> dict[str, Any]:
    """The rows of that box by their names."""
    ran = in_box(image, CHECK, "--json", *ONLY, options=broken)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert report["ok"] is False
    return {row["name"]: row for row in report["rows"]}


def test_a_broken_framework_spoils_no_other_row(verdicts: dict[str, Any]) -> None:
    assert verdicts["NumPy"]["ok"] is True
    assert verdicts["NumPy"]["sentence"] == ""


def test_an_exception_at_import_is_a_row_with_its_words(verdicts: dict[str, Any]) -> None:
    assert verdicts["pandas"]["ok"] is False
    assert verdicts["pandas"]["sentence"] == "RuntimeError: somebody broke it"
    assert "/broken/pandas/__init__.py" in verdicts["pandas"]["output"]


def test_the_version_of_a_broken_framework_is_told_all_the_same(verdicts: dict[str, Any]) -> None:
    assert re.match(r"\d+\.\d+", verdicts["pandas"]["version"])


def test_a_missing_library_is_named(verdicts: dict[str, Any]) -> None:
    assert verdicts["LightGBM"]["sentence"].startswith("The library libgomp.so.1 is not in this box")


def test_a_crash_is_a_row_with_its_place(verdicts: dict[str, Any]) -> None:
    assert verdicts["XGBoost"]["sentence"].startswith("It crashed: segmentation fault (SIGSEGV), in /")


def test_a_process_that_ends_by_itself_is_a_row(verdicts: dict[str, Any]) -> None:
    assert verdicts["SciPy"]["sentence"] == "Its process ended with status 7: last words"
    assert verdicts["Pillow"]["sentence"] == "SystemExit: gone"


def test_a_hang_is_a_row_when_its_time_is_over(verdicts: dict[str, Any]) -> None:
    assert verdicts["OpenCV"]["sentence"] == "It did not end within 20 s and was stopped."
    assert 20 <= verdicts["OpenCV"]["seconds"] < 40


# --- what the person sees ----------------------------------------------------------------------------


def test_the_table_tells_right_and_wrong_in_a_line_each(image: str, broken: tuple[str, ...]) -> None:
    ran = in_box(image, CHECK, "--only", "numpy", "pandas", options=broken)
    assert ran.returncode == 1
    assert re.search(r"^framework +version +device +seconds$", ran.stdout, re.MULTILINE)
    assert re.search(r"^NumPy +[\d.]+ +cpu +[\d.]+ +ok$", ran.stdout, re.MULTILINE)
    wrong = r"^pandas +[\d.]+ +[\d.]+ +WRONG +RuntimeError: somebody broke it$"
    assert re.search(wrong, ran.stdout, re.MULTILINE)
    assert "1 of 2 do not work: pandas" in ran.stdout
    assert "2/2" in ran.stderr


def test_progress_is_one_changing_line_on_a_terminal_and_leaves_none(image: str) -> None:
    box = ("docker", "run", "--rm", "--tty", "--network=none", f"--volume={PROOF}:{PLACE}:ro", image)
    ran = subprocess.run([*box, CHECK, "--only", "numpy", "scipy"], capture_output=True, timeout=300)
    told = ran.stdout.decode()  # as bytes first: read as text, a carriage return would become a line's end
    assert ran.returncode == 0, told
    changing, _, table = told.rpartition("\r\033[K")
    assert "of 2 done" in changing and "NumPy" in changing and "\n" not in changing
    assert table.startswith("No GPU in this box") and "All 2 work" in table


def test_a_name_that_is_no_row_is_answered_with_those_that_are(image: str) -> None:
    ran = in_box(image, CHECK, "--only", "fortran")
    assert ran.returncode == 2
    assert "'fortran'" in ran.stderr and "NumPy" in ran.stderr


def test_files_of_the_user_with_a_modules_name_are_not_taken_for_it(image: str) -> None:
    traps = "cd && for name in json random numpy torch typing; do echo 'raise SystemExit(9)' > $name.py; done"
    ran = in_box(image, "sh", "-c", f"{traps}; {CHECK} --only numpy")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_launcher_finds_the_proof_from_where_it_is_copied_to(image: str) -> None:
    ran = in_box(image, "sh", "-c", f"cp {CHECK} /tmp/ && /tmp/gpubox-check --list")
    assert ran.returncode == 0, ran.stderr
    assert "NumPy" in ran.stdout.splitlines()
