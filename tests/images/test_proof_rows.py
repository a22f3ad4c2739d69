"""The proof's parts that need no box: which rows there are, and how a failure becomes a sentence."""

from __future__ import annotations

import ast
import signal
import sys
from pathlib import Path

import pytest

PROOF = Path(__file__).parents[2] / "images" / "proof"
sys.path.append(str(PROOF))

from gpubox_proof import failure, rows, runner  # noqa: E402


def test_every_row_has_a_step_with_a_docstring() -> None:
    functions = {
        f"{file.stem}:{node.name}": ast.get_docstring(node)
        for file in (PROOF / "gpubox_proof/steps").glob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert not [row.name for row in rows.ROWS if not functions.get(row.step)]
    assert len({row.name for row in rows.ROWS}) == len(rows.ROWS)


def test_rows_of_cuda_are_expected_only_where_cuda_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "is_installed", lambda name: False)
    without = {row.name for row in rows.expected()}
    monkeypatch.setattr(rows, "is_installed", lambda name: name == "nvidia-cuda-runtime")
    of_cuda = {"NVIDIA driver", "CUDA", "cuDNN", "CuPy", "nvcc", "torchvision"}
    assert {row.name for row in rows.expected()} - without == of_cuda


def test_rows_are_chosen_by_how_their_names_begin() -> None:
    def names(*words: str) -> list[str]:
        return [row.name for row in rows.chosen(words, rows.ROWS)]

    assert names("keras") == ["Keras (tensorflow)", "Keras (torch)", "Keras (jax)"]
    assert names("git") == ["git"]
    assert names("htop", "NUMPY") == ["NumPy", "htop"]
    with pytest.raises(LookupError, match=r"'fortran'.*NumPy"):
        names("fortran")


def test_a_row_runs_in_the_environment_that_its_framework_has_of_its_own(tmp_path: Path) -> None:
    for home in ("ml", "tf"):
        python = tmp_path / home / "bin/python"
        python.parent.mkdir(parents=True)
        python.touch()
    kernel = tmp_path / "tf/share/jupyter/kernels/tensorflow/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(
        f'{{"argv": ["{tmp_path}/tf/bin/python"], "env": {{"LD_LIBRARY_PATH": "/opt/tf/cuda"}}}}'
    )

    tensorflow = runner.place_of(rows.named("TensorFlow"), tmp_path)
    pytorch = runner.place_of(rows.named("PyTorch"), tmp_path)
    nowhere = runner.place_of(rows.named("TensorFlow"), tmp_path / "empty")

    assert tensorflow == runner.Place(f"{tmp_path}/tf/bin/python", {"LD_LIBRARY_PATH": "/opt/tf/cuda"})
    assert pytorch == runner.Place(f"{tmp_path}/ml/bin/python", {})
    assert nowhere == runner.Place(sys.executable, {})


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (failure.Wrong("It is off by one."), "It is off by one."),
        (
            ModuleNotFoundError("No module named 'caffe'", name="caffe"),
            "The Python package caffe is not installed.",
        ),
        (FileNotFoundError(2, "No such file", "nvtop"), "The program nvtop is not installed."),
        (
            ImportError("libcudnn.so.9: cannot open shared object file: No such file or directory"),
            "The library libcudnn.so.9 is not in this box or not where it is looked for"
            " (libcudnn.so.9: cannot open shared object file: No such file or directory).",
        ),
        (
            ImportError("/opt/x/_C.so: undefined symbol: _ZN3c10"),
            "/opt/x/_C.so does not fit the libraries beside it: symbol _ZN3c10 is missing.",
        ),
        (RuntimeError("no\nluck"), "RuntimeError: no luck"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_an_exception_becomes_a_sentence(error: BaseException, sentence: str) -> None:
    assert failure.of_exception(error, "X") == sentence


def test_a_process_that_ended_without_a_report_becomes_a_sentence() -> None:
    stack = (
        'Fatal Python error: Segmentation fault\n\nCurrent thread:\n  File "/opt/a.py", line 7 in <module>\n'
    )
    assert failure.of_exit(-signal.SIGSEGV, stack) == (
        "It crashed: segmentation fault (SIGSEGV), in /opt/a.py line 7."
    )
    assert "memory" in failure.of_exit(-signal.SIGKILL, "")
    assert failure.of_exit(1, "one\ntwo\n") == "Its process ended with status 1: two"
    assert failure.of_timeout(90) == "It did not end within 90 s and was stopped."


def test_long_words_are_cut() -> None:
    assert len(failure.of_exception(RuntimeError("word " * 500), "X")) < 400
