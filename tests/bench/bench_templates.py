"""What templates cost: a save of 1 GiB against `docker commit`, a start against the base image's, and a list.

Prints medians and the ratios that are promised; exit status 1 where one is missed. A ratio is the median of
those of neighbours in time, which share what else the machine does. Run by `make bench`.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import docker

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.hub import Hub
from gpubox.control.client import ask
from gpubox.db import open_database
from gpubox.engines.images import TemplateImages
from gpubox.machine_templates import Actor, Share, rights
from gpubox.machine_templates.store import TemplateStore

IMAGE = "gpubox/cpu:" + os.environ.get("GPUBOX_IMAGE_TAG", "latest")
MACHINE = {"name": "root", "title": "Root", "memory": "2G", "root": True, "image": IMAGE}
HUB_ID = "be4c4be4c4be4c4b"
SAVES, STARTS, TEMPLATES = 5, 7, 1000
MOST_OF_COMMIT, MOST_OF_BASE, MOST_MILLISECONDS = 1.2, 1.1, 100


Seconds = list[float]


def saves() -> tuple[Seconds, Seconds]:
    """Seconds of commits and of saves of the same gibibyte, by turns."""
    client = docker.from_env(timeout=3600)
    keeper = TemplateImages(lambda: docker.APIClient(timeout=3600), HUB_ID)
    box = client.containers.run(IMAGE, ["sleep", "3600"], entrypoint=[], detach=True, user="root")
    commits, ours = [], []
    try:
        fill = "mkdir /opt/x; for i in $(seq 1024); do head -c 1048576 /dev/urandom >/opt/x/$i; done"
        assert box.exec_run(["sh", "-c", fill]).exit_code == 0
        for number in range(SAVES + 1):
            begun = time.perf_counter()
            image = client.api.commit(box.id, repository="gpubox/bench", tag=str(number))
            committed = time.perf_counter()
            client.images.remove(f"gpubox/bench:{number}")
            assert image["Id"]
            again = time.perf_counter()
            kept = keeper.keep(keeper.look(box.id), f"bench{number}", IMAGE, lambda words: None)
            saved = time.perf_counter()
            keeper.remove(kept.name)
            if number:  # the first one warms the caches of both
                commits.append(committed - begun)
                ours.append(saved - again)
                print(f"  save {number}: commit {commits[-1]:.2f} s, template {ours[-1]:.2f} s", flush=True)
    finally:
        box.remove(force=True, v=True)
    return commits, ours


def starts() -> tuple[Seconds, Seconds]:
    """Seconds from request to ready, from the base image and from a template, by turns."""
    actor = {"name": "alice", "groups": [], "is_admin": False}
    base, template = [], []
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as directory:
        hub = Hub(Path(directory), machines=[MACHINE], users=("alice",)).start()

        def wish(what: str, **fields: Any) -> Any:
            return ask(
                lambda one: one.do(f"templates/{what}", actor=actor, **fields), hub.directory / "state"
            )

        def taken(**options: str) -> float:
            begun = time.perf_counter()
            hub.run("alice", "root", **options)
            return time.perf_counter() - begun

        try:
            hub.run("alice", "root")
            hub.container("alice").exec_run(
                ["sh", "-c", "head -c 100000000 /dev/urandom >/opt/x"], user="root"
            )
            wish("save", owner="alice", server="", name="bench", note="")
            hub.until(lambda: wish("overview")["saves"][0]["ended_at"], "the save has ended", 300)
            hub.stop("alice")
            for number in range(STARTS + 1):
                seconds = [taken()]
                hub.stop("alice")
                seconds.append(taken(template="alice/bench"))
                hub.stop("alice")
                if number:
                    base.append(seconds[0])
                    template.append(seconds[1])
                    print(
                        f"  start {number}: base {seconds[0]:.2f} s, template {seconds[1]:.2f} s", flush=True
                    )
            wish("remove", template="alice/bench")
        finally:
            hub.close()
    return base, template


def listing() -> float:
    """Median milliseconds to read 1,000 templates, half of them shared, and to write them as JSON."""
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as directory:
        store = TemplateStore(open_database(f"sqlite:///{directory}/gpubox.sqlite"))
        for number in range(TEMPLATES):
            fields = {
                "base": "gpubox/cpu:latest",
                "machine": "cpu",
                "size_bytes": 1,
                "secrets": [],
                "cleared": True,
                "engine": "",
            }
            made = store.add_version("ada", f"t{number}", "a note", 1.0, image=f"image:{number}", **fields)
            if number % 2:
                store.share(made.template_id, Share("everyone"), clear=False)
        taken = []
        for _ in range(20):
            begun = time.perf_counter()
            seen = [rights.seen_by(template, Actor("ada")) for template in store.all()]
            assert len(json.dumps(seen)) > TEMPLATES
            taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def main() -> int:
    """Measure all and print the comparison."""
    milliseconds = listing()
    rows = [
        ("save of 1 GiB / docker commit", *saves(), MOST_OF_COMMIT),
        ("start from template / base image", *starts(), MOST_OF_BASE),
    ]
    print(f"\n{'':34}{'theirs':>9}{'ours':>9}{'ratio':>7}{'at most':>9}")
    median = statistics.median
    missed = False
    for label, theirs, ours, most in rows:
        ratio = median(one / other for one, other in zip(ours, theirs, strict=True))
        print(f"{label:34}{median(theirs):8.2f}s{median(ours):8.2f}s{ratio:7.2f}{most:9.2f}")
        missed |= ratio > most
    print(f"{'list of 1,000 templates':34}{'':9}{milliseconds:7.0f}ms{'':7}{MOST_MILLISECONDS:7}ms")
    return int(missed or milliseconds > MOST_MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
