"""What draws OpenGL on the desktop: the CPU, or an NVIDIA GPU through its Vulkan driver and Mesa's Zink.

NVIDIA's own OpenGL for X needs NVIDIA's display server, which Xvnc is not. Its Vulkan driver does not; Zink
draws OpenGL with it. That driver is in the box where the engine lent the GPU with the driver capability
`graphics`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

QUESTION = ("glxinfo", "-B")
CPU: Mapping[str, str] = {}
ZINK: Mapping[str, str] = {
    "__GLX_VENDOR_LIBRARY_NAME": "mesa",
    "MESA_LOADER_DRIVER_OVERRIDE": "zink",
    "GALLIUM_DRIVER": "zink",
    # Xvnc has no DRI3: pictures come back through the connection to it.
    "LIBGL_KOPPER_DRI2": "1",
}
_ICDS = ("etc/vulkan/icd.d", "usr/share/vulkan/icd.d")
_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "lavapipe")


@dataclass(frozen=True)
class Renderer:
    """The renderer as OpenGL names it, and whether a GPU is behind it."""

    name: str
    is_hardware: bool


def has_nvidia_vulkan(root: Path = Path("/")) -> bool:
    """Whether an NVIDIA GPU is here, and its Vulkan driver."""
    icds = (root / folder / "nvidia_icd.json" for folder in _ICDS)
    return (root / "dev/nvidiactl").exists() and any(icd.exists() for icd in icds)


def read(glxinfo: str) -> Renderer | None:
    """The renderer that `glxinfo -B` told of; None where it told of none."""
    found = re.search(r"^OpenGL renderer string: (.+)$", glxinfo, re.MULTILINE)
    if found is None:
        return None
    name = found[1].strip()
    return Renderer(name, not any(word in name.lower() for word in _SOFTWARE))
