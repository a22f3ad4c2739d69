"""How fast files go through the SSH gateway: scp of 1 GB, against an sshd in the same container, directly.

Prints seconds and MB/s of both, up and down (the better of two rounds each, in turns), and the ratio that is
promised. Exit status 1 where it is missed. Run by `make bench`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.hub import Hub
from fixtures.ssh import Laptop, keys_api, token_of

SIZE_MB = 1000
ROUNDS = 2
LEAST_OF_DIRECT = 0.5
IMAGE = f"gpubox/cpu:{os.environ.get('GPUBOX_IMAGE_TAG', 'latest')}"
MACHINE = {"name": "cpu", "title": "CPU", "memory": "2G", "image": IMAGE}

# OpenSSH as it comes, but for what only root could do.
DIRECT = """
set -e
mkdir -m 700 -p /tmp/direct && cd /tmp/direct
ssh-keygen -q -t ed25519 -N "" -f host_key
printf '%s\n' "$KEY" > allowed
printf '%s\n' "Port 2299" "HostKey /tmp/direct/host_key" "PidFile none" "UsePAM no" "StrictModes no" \
    "AuthorizedKeysFile /tmp/direct/allowed" "Subsystem sftp internal-sftp" > config
/usr/sbin/sshd -f /tmp/direct/config
"""


def seconds(laptop: Laptop, *words: str) -> float:
    """How long an scp takes."""
    begun = time.perf_counter()
    told = laptop.run("scp", "-q", "-F", str(laptop.config), *words, timeout=600)
    assert told.returncode == 0, told.stderr
    return time.perf_counter() - begun


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-") as directory:
        place = Path(directory)
        hub = Hub(place, machines=[MACHINE], users=("alice",), ssh=True).start()
        try:
            return compare(hub, place)
        finally:
            hub.close()


def compare(hub: Hub, place: Path) -> int:
    """Both ways, in turns."""
    laptop = Laptop(place / "laptop", hub, "alice")
    answer = keys_api(hub, token_of(hub, "alice"), "POST", json={"key": laptop.public_key})
    assert answer.status_code == 201, answer.text
    hub.run("alice", "cpu")
    hub.until(lambda: laptop.ssh("box", "true").returncode == 0, "the gateway lets alice in")
    box = hub.container("alice")
    ran = box.exec_run(["sh", "-c", DIRECT], environment={"KEY": laptop.public_key.strip()})
    assert ran.exit_code == 0, ran.output
    (network,) = box.attrs["NetworkSettings"]["Networks"].values()
    direct = f"\nHost direct\n    HostName {network['IPAddress']}\n    Port 2299\n    User jovyan\n"
    laptop.config.write_text(direct + laptop.config.read_text())

    file, back = place / "file", place / "back"
    with file.open("wb") as new:
        for _ in range(SIZE_MB):
            new.write(os.urandom(1_000_000))
    best: dict[tuple[str, str], float] = {}
    for _ in range(ROUNDS):
        for host in ("direct", "box"):
            for way, words in (("up", (str(file), f"{host}:there")), ("down", (f"{host}:there", str(back)))):
                best[way, host] = min(best.get((way, host), 1e9), seconds(laptop, *words))
    ratios = []
    for way in ("up", "down"):
        for host, name in (("direct", "sshd directly"), ("box", "by the gateway")):
            taken = best[way, host]
            print(f"scp of 1 GB {way:4}  {name:14}  {taken:5.1f} s, {SIZE_MB / taken:4.0f} MB/s")
        ratios.append(best[way, "direct"] / best[way, "box"])
    print(f"scp, gateway/direct       {ratios[0]:.2f} up, {ratios[1]:.2f} down (promised: {LEAST_OF_DIRECT})")
    return int(min(ratios) < LEAST_OF_DIRECT)


if __name__ == "__main__":
    sys.exit(main())
