"""From what went wrong in a step to the sentence that says so."""

from __future__ import annotations

import re
import signal

_NO_LIBRARY = re.compile(r"(\S*lib\S+\.so[\d.]*): cannot open shared object file")
_NO_SYMBOL = re.compile(r"(\S+): undefined symbol: (\S+)")
# faulthandler's stack, newest call first.
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in', re.MULTILINE)


class Wrong(Exception):
    """A framework imports, and what it computes is not right; the message is the sentence."""


def of_exception(error: BaseException, name: str) -> str:
    """What an exception in the step of a framework says about it."""
    text = " ".join(str(error).split())
    if isinstance(error, Wrong):
        return text
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"The Python package {error.name} is not installed."
    if isinstance(error, FileNotFoundError) and error.filename and "/" not in str(error.filename):
        return f"The program {error.filename} is not installed."
    if missing := _NO_LIBRARY.search(text):
        return f"The library {missing[1]} is not in this box or not where it is looked for ({text})."
    if symbol := _NO_SYMBOL.search(text):
        return f"{symbol[1]} does not fit the libraries beside it: symbol {symbol[2]} is missing."
    if isinstance(error, AssertionError) and not text:
        return f"{name} gave a wrong result; run `gpubox-check --json --only {name!r}` for the place."
    return f"{type(error).__name__}: {shortened(text)}"


def of_exit(status: int, output: str) -> str:
    """What is to be said of a process that ended without a report, from its status and last output."""
    if status >= 0:
        last = output.strip().splitlines()[-1:] or ["no output"]
        return f"Its process ended with status {status}: {shortened(last[0])}"
    killed = -status
    name = signal.Signals(killed).name if killed in iter(signal.Signals) else f"signal {killed}"
    words = {"SIGSEGV": "segmentation fault", "SIGILL": "an instruction that this processor does not have"}
    if name == "SIGKILL":
        return "Its process was killed (SIGKILL), most often because this box ran out of memory."
    frame = _FRAME.search(output)
    place = f", in {frame[1]} line {frame[2]}" if frame else ""
    return f"It crashed: {words.get(name, 'the process was ended')} ({name}){place}."


def of_timeout(seconds: float) -> str:
    """What is to be said of a process that had to be stopped."""
    return f"It did not end within {seconds:g} s and was stopped."


def shortened(text: str, length: int = 300) -> str:
    """At most so much of a text, cut at a word."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length].rsplit(' ', 1)[0]} ..."
