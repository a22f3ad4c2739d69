"""The host helper: one small container beside the boxes that says which process of a box a host pid is.

Older NVIDIA drivers tell a container the host's pids, which mean nothing in it. ``program`` answers boxes, in
a container of its own; ``container`` sees to it that it runs. In a box, `jupyterlab_gpubox.host_pids` asks.

It sees the host's processes, and that is all it has: an account of nobody's without any capability, no
network, a file system that cannot be written. What it needs of a process, /proc shows to everyone (``NSpid``
and the control group). To read the namespace itself (/proc/PID/ns/pid) would take CAP_SYS_PTRACE, with which
whoever got into the helper could take over any process of the host.
"""

from .container import ensure_helper, ensure_volume, mount

__all__ = ["ensure_helper", "ensure_volume", "mount"]
