"""IPython, TensorBoard, JupyterLab with its extensions, and the kernels."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from ..failure import Wrong
from ..step import Seen


def ipython() -> Seen:
    """Run cells: a magic, a result, a history, a completion."""
    import IPython
    from IPython.core.completer import provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.run_cell("%%capture printed\nprint('hello'); answer = 6 * 7", store_history=True)
    shell.run_cell("answer", store_history=True)
    if shell.user_ns.get("_") != 42 or shell.user_ns["printed"].stdout != "hello\n":
        raise Wrong("IPython does not run its magics as it should.")
    with provisionalcompleter():  # it calls its own interface provisional, since 2017
        offered = [completion.text for completion in shell.Completer.completions("ans", 3)]
    if "answer" not in offered:
        raise Wrong("IPython completes no names.")
    return Seen(IPython.__version__, "")


def tensorboard() -> Seen:
    """Write a curve to an event file and read it back."""
    import tensorboard
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    curve = [1.0, 0.5, 0.25]
    writer = EventFileWriter("run")
    for step, loss in enumerate(curve):
        point = Summary.Value(tag="loss", simple_value=loss)
        writer.add_event(Event(step=step, summary=Summary(value=[point])))
    writer.close()
    read = EventAccumulator("run").Reload()
    if [point.value for point in read.Scalars("loss")] != curve:
        raise Wrong(f"TensorBoard reads {read.Scalars('loss')} where {curve} was written.")
    return Seen(tensorboard.__version__, "")


def jupyterlab() -> Seen:
    """The server loads JupyterLab's own extension."""
    import jupyterlab

    _server_extension("jupyterlab")
    return Seen(jupyterlab.__version__, "")


def jupyterlab_git() -> Seen:
    """Its two halves are there: the server's and the browser's."""
    from importlib.metadata import version

    _server_extension("jupyterlab_git")
    _lab_extension("@jupyterlab/git")
    return Seen(version("jupyterlab-git"), "")


def ipywidgets() -> Seen:
    """A slider moves its listeners, and the browser's half is there."""
    import ipywidgets

    slider, heard = ipywidgets.IntSlider(value=3), []
    slider.observe(lambda change: heard.append(change["new"]), "value")
    slider.value = 7
    if heard != [7]:
        raise Wrong("A slider of ipywidgets tells nobody that it moved.")
    _lab_extension("@jupyter-widgets/jupyterlab-manager")
    return Seen(ipywidgets.__version__, "")


def kernels() -> Seen:
    """Every kernel of the launcher starts, computes, and stops."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import start_new_kernel

    specs = KernelSpecManager().get_all_specs()
    for name, spec in specs.items():
        title = spec["spec"]["display_name"]
        manager, client = start_new_kernel(kernel_name=name, startup_timeout=60)
        try:
            heard: list[dict[str, Any]] = []
            told = client.execute_interactive("print(6 * 7)", timeout=60, output_hook=heard.append)
            printed = "".join(message["content"].get("text", "") for message in heard)
            if told["content"]["status"] != "ok" or printed != "42\n":
                raise Wrong(f"The kernel {title!r} starts and does not compute.")
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    if not specs:
        raise Wrong("There is no kernel: no notebook can run.")
    return Seen("", "", note=", ".join(spec["spec"]["display_name"] for spec in specs.values()))


def _server_extension(name: str) -> None:
    """Fails where the server does not load an extension. It validates each: they are imported."""
    told = _jupyter("server", "extension", "list")
    if not re.search(rf"^\s*{name} enabled", told, re.MULTILINE):
        raise Wrong(f"The server's extension {name} is not enabled.")
    if not re.search(rf"^\s*{name} \S+ OK", told, re.MULTILINE):
        raise Wrong(f"The server's extension {name} is enabled and does not load.")


def _lab_extension(name: str) -> None:
    told = _jupyter("labextension", "list")
    if not re.search(rf"{re.escape(name)} \S+ enabled OK", told):
        raise Wrong(f"JupyterLab's extension {name} is not listed as enabled and OK.")


def _jupyter(*command: str) -> str:
    """What a jupyter command prints, without colours."""
    ran = subprocess.run([sys.executable, "-m", "jupyter", *command], capture_output=True, text=True)
    if ran.returncode:
        raise Wrong(f"`jupyter {' '.join(command)}` fails: {(ran.stderr or ran.stdout).strip()[-200:]}")
    return re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout + ran.stderr)
