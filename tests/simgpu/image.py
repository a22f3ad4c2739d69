"""A container image of one program, the probe, and the C library: made in a moment, with no registry."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

import docker

REPOSITORY = "gpubox-test/probe"


def build_probe_image(engine: docker.DockerClient) -> str:
    """Imports the image and returns its name, which is this process's own.

    Its root is nothing but ``/probe`` and shared libraries.
    """
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(fileobj=content, mode="w") as tar:
        probe = Path(scratch, "probe")
        source = Path(__file__).with_name("probe.c")
        subprocess.run(["cc", "-std=gnu11", "-w", "-o", probe, source, "-ldl"], check=True)
        tar.add(probe, "probe")
        listed = subprocess.run(["ldd", probe], check=True, capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            tar.add(Path(library).resolve(), library)
        for directory in ("tmp", "usr", "usr/lib"):  # where the driver's library is mounted
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
    engine.api.import_image_from_data(content.getvalue(), repository=REPOSITORY, tag=str(os.getpid()))
    return f"{REPOSITORY}:{os.getpid()}"
