"""How long the box's server takes from its start to its first answer: JupyterHub's own against the lean one.

Both in the same image, by turns, in new containers; prints the medians of a container's first boots and of
the later, warm ones. Run by `make bench`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path

IMAGE = "gpubox/cpu:latest"
ROUNDS, BOOTS = 5, 4
PROBE = Path(__file__).parents[1] / "images"


def boots(command: str) -> list[float]:
    """Seconds of each boot in one new container."""
    ran = subprocess.run(
        [
            *("docker", "run", "--rm", "--init", "--network=none", f"--volume={PROBE}:/probe:ro"),
            *("--env=PYTHONPATH=/probe", "--env=PYTHONDONTWRITEBYTECODE=1", IMAGE),
            *("python", "/probe/server_probe.py", str(BOOTS), command),
            "--ServerApp.jpserver_extensions=server_probe=True",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds: list[float] = json.loads(ran.stdout)["seconds"]
    return seconds


def main() -> None:
    """Measure and print."""
    rounds = [(boots("jupyterhub-singleuser"), boots("gpubox-singleuser")) for _ in range(ROUNDS)]
    medians = []
    for name, measured in zip(("JupyterHub's own", "lean"), zip(*rounds, strict=True), strict=True):
        first = statistics.median(seconds[0] for seconds in measured)
        medians.append(statistics.median(second for seconds in measured for second in seconds[1:]))
        print(f"server boot, {name:16}  {medians[-1]:.2f} s, a container's first {first:.2f} s")
    print(f"server boot, lean/own          {medians[1] / medians[0]:.2f}")


if __name__ == "__main__":
    main()
