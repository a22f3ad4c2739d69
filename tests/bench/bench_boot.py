"""How long the box's server takes from its start to its first answer: JupyterHub's own against the lean one.

Both in the same image, one container each, warm; prints the median of fifteen boots and what a container's
first boot took. Run by `make bench`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path

IMAGE = "gpubox/cpu:latest"
BOOTS = 15
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
    medians = []
    for name, command in (("JupyterHub's own", "jupyterhub-singleuser"), ("lean", "gpubox-singleuser")):
        seconds = boots(command)
        medians.append(statistics.median(seconds))
        print(f"server boot, {name:16}  median {medians[-1]:.2f} s   first {seconds[0]:.2f} s")
    print(f"server boot, lean/own          {medians[1] / medians[0]:.2f}")


if __name__ == "__main__":
    main()
