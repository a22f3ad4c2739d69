"""A program that runs on and answers questions, as a user's program on a GPU machine does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

_ROOT = Path(__file__).parents[2]
_PATHS = [str(_ROOT / directory) for directory in ("spawner", "extension", "tests")]
_LOOP = """
import json, sys
scope = {}
for line in sys.stdin:
    code = json.loads(line)
    try:
        try:
            answer = {"value": eval(compile(code, "asked", "eval"), scope)}
        except SyntaxError:
            exec(compile(code, "asked", "exec"), scope)
            answer = {"value": None}
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(answer, default=str), flush=True)
"""


class ProgramError(Exception):
    """What was asked raised an error in the program; its name comes first in the message."""


class Program:
    """A Python program with a driver's environment: ``program("pynvml.nvmlDeviceGetCount()")``.

    Takes expressions, whose values come back by JSON, and statements, which keep their names.
    """

    def __init__(self, environment: Mapping[str, str], *begin: str) -> None:
        paths = os.pathsep.join([*_PATHS, os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            env={**os.environ, "PYTHONPATH": paths, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for code in begin:
            self(code)

    def __call__(self, code: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise ProgramError(f"{answer['error']}: {answer['message']}")
        return answer["value"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # its input ends, and so does it
