"""How large the image is, what it is made of, and how long it takes to change one Python package.

Prints the size of each layer and of the largest folders, then builds a copy of the source whose lock lacks
one package, with the caches of the last build, under a tag of its own that is removed again. Exit status 1
where a limit is missed. Run by `make bench`; the limits of the CUDA image are checked with TARGET=cuda.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import docker

from gpubox.host.contents import LOCKS, contents
from gpubox.host.image import BASE, build_command, ca_bundle, image_name

REPOSITORY = Path(__file__).parents[2]
TARGET = os.environ.get("TARGET", "cpu")
# Two limits: what the frameworks take, and on top what the desktop and ssh do.
MOST_GB = {"cpu": 4.0, "cuda": 16.0, "cuda12": 16.0}
MOST_DESKTOP_GB = 0.461
MOST_REBUILD_SECONDS = 120.0
# A package that nothing else needs.
LEAF = "seaborn"
FOLDERS = "du -xB1000000 --max-depth=5 / 2>/dev/null | sort -rn | head -25"
TWICE = """
import collections, hashlib, os, sys
sizes, seen = collections.defaultdict(list), set()
for folder, _, names in os.walk("/opt"):
    for path in (os.path.join(folder, name) for name in names):
        status = os.lstat(path)
        if os.path.isfile(path) and not os.path.islink(path) and status.st_size > 1 << 20:
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                sizes[status.st_size].append(path)
twice = 0
for size, paths in sizes.items():
    if len(paths) == 1:
        continue
    found = collections.Counter(hashlib.file_digest(open(path, "rb"), "sha256").digest() for path in paths)
    twice += sum(size * (count - 1) for count in found.values())
print(round(twice / 1e6))
"""


def desktop_gb(client: docker.DockerClient) -> float:
    """What the desktop and ssh add: the layer that images/desktop/install makes."""
    layers = client.images.get(image_name(TARGET)).history()
    return sum(layer["Size"] for layer in layers if '/install "${DESKTOP}"' in layer["CreatedBy"]) / 1e9


def in_box(client: docker.DockerClient, *command: str) -> str:
    """What a command prints in a box of the image."""
    output: bytes = client.containers.run(
        image_name(TARGET), list(command), entrypoint="", remove=True, network_mode="none"
    )
    return output.decode()


def report_size(client: docker.DockerClient) -> float:
    """Print what the image is made of; its size in GB (10^9 bytes)."""
    image = client.images.get(image_name(TARGET))
    for layer in reversed(image.history()):
        if layer["Size"] > 10_000_000:
            words = re.sub(r"\s+", " ", layer["CreatedBy"])[:70]
            print(f"  layer   {layer['Size'] / 1e9:6.2f} GB  {words}")
    for line in in_box(client, "sh", "-c", FOLDERS).splitlines():
        megabytes, folder = line.split("\t")
        print(f"  folder  {int(megabytes) / 1000:6.2f} GB  {folder}")
    print(f"  files of a MB and more in it twice: {in_box(client, 'python', '-c', TWICE).strip()} MB")
    return float(image.attrs["Size"]) / 1e9


def without_leaf(lock: str) -> str:
    """The lock without `LEAF`: a package is a line that begins it, and the indented ones below."""
    less = re.sub(rf"^{LEAF}==.*\n(?: .*\n)*", "", lock, flags=re.MULTILINE)
    assert less != lock, f"{LEAF} is not in the lock"
    return less


def seconds_to_change_a_package(client: docker.DockerClient) -> float:
    """From a change in the lock to the image, proof included."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        shutil.copytree(REPOSITORY / "images", tree / "images")
        shutil.copytree(REPOSITORY / "extension", tree / "extension")
        lock = tree / "images" / "locks" / f"{LOCKS[TARGET][0]}.lock"
        lock.write_text(without_leaf(lock.read_text()))
        os.environ["GPUBOX_IMAGE_TAG"] = "bench"
        try:
            command = build_command(
                TARGET,
                base=BASE,
                version="bench",
                ca=ca_bundle(os.environ),
                holds=contents(tree / "images", TARGET),
            )
            begun = time.perf_counter()
            subprocess.run(command, cwd=tree, check=True, capture_output=True)
            seconds = time.perf_counter() - begun
            client.images.remove(image_name(TARGET), force=True)
        finally:
            del os.environ["GPUBOX_IMAGE_TAG"]
    return seconds


def main() -> int:
    """Report and measure; 1 where a limit was missed."""
    client = docker.from_env()
    desktop = desktop_gb(client)
    frameworks = report_size(client) - desktop
    seconds = seconds_to_change_a_package(client)
    print(f"{image_name(TARGET)}: {frameworks:.2f} GB (limit {MOST_GB[TARGET]:.1f} GB)")
    print(f"and desktop and ssh: {desktop:.3f} GB (limit {MOST_DESKTOP_GB} GB)")
    print(f"one package changed: {seconds:.0f} s (limit {MOST_REBUILD_SECONDS:.0f} s)")
    is_too_large = frameworks > MOST_GB[TARGET] or desktop > MOST_DESKTOP_GB
    return int(is_too_large or seconds > MOST_REBUILD_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
