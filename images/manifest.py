#!/usr/bin/env python3
"""Write down what an image holds: run inside the build, as manifest.py TARGET VERSION FOLDER.

FOLDER/manifest.json is for people and pages: frameworks, Python, CUDA and the driver it needs;
`gpubox-versions` prints it. FOLDER/sbom.cdx.json is for audits: every Debian and Python package, as CycloneDX
1.6. Both say the same for the same packages, so that a build with nothing changed changes nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# What people ask for by name, and the distributions that are it, the first that is installed.
FRAMEWORKS = {
    "PyTorch": ("torch",),
    "TensorFlow": ("tensorflow", "tensorflow-cpu"),
    "Keras": ("keras",),
    "JAX": ("jax",),
    "Caffe": ("caffe",),
    "PyTensor": ("pytensor",),
    "torchvision": ("torchvision",),
    "scikit-learn": ("scikit-learn",),
    "XGBoost": ("xgboost", "xgboost-cpu"),
    "LightGBM": ("lightgbm",),
    "transformers": ("transformers",),
    "diffusers": ("diffusers",),
    "datasets": ("datasets",),
    "accelerate": ("accelerate",),
    "peft": ("peft",),
    "safetensors": ("safetensors",),
    "sentence-transformers": ("sentence-transformers",),
    "spaCy": ("spacy",),
    "ONNX Runtime": ("onnxruntime-gpu", "onnxruntime"),
    "OpenCV": ("opencv-python-headless",),
    "Pillow": ("pillow",),
    "CuPy": ("cupy-cuda13x", "cupy-cuda12x"),
    "NumPy": ("numpy",),
    "SciPy": ("scipy",),
    "pandas": ("pandas",),
    "Matplotlib": ("matplotlib",),
    "IPython": ("ipython",),
    "TensorBoard": ("tensorboard",),
    "JupyterLab": ("jupyterlab",),
    "JupyterHub": ("jupyterhub",),
}
# The same of Debian's packages.
DEBIANS = {
    "OpenBLAS": "libopenblas0-pthread",
    "TigerVNC": "tigervnc-standalone-server",
    "XFCE": "xfce4-session",
    "Mesa": "mesa-libgallium",
    "OpenSSH": "openssh-server",
}
CUDA = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")
CUDNN = ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12")
# The oldest driver that runs programs of a CUDA release, from NVIDIA's table of minor-version compatibility.
OLDEST_DRIVER = {12: "525", 13: "580"}


@dataclass(frozen=True)
class Package:
    """An installed package; ``environment`` is a folder of /opt, or debian."""

    name: str
    version: str
    environment: str
    license: str = ""


def python_packages(environment: Path) -> list[Package]:
    """The distributions of a Python environment, by name."""
    folder = next(environment.glob("lib/python3*/site-packages"))
    found = {}
    for distribution in importlib.metadata.distributions(path=[str(folder)]):
        told = distribution.metadata.json
        license_ = str(told.get("license_expression") or told.get("license") or "")
        name = re.sub(r"[-_.]+", "-", str(told["name"])).lower()
        found[name] = Package(name, distribution.version, environment.name, license_.partition("\n")[0][:80])
    return [found[name] for name in sorted(found)]


def debian_packages() -> list[Package]:
    """What dpkg has installed."""
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package}\t${Version}\n"], capture_output=True, text=True, check=True
    )
    rows = (line.split("\t") for line in sorted(listed.stdout.splitlines()))
    return [Package(name, version, "debian") for name, version in rows]


def debians_python_packages() -> list[Package]:
    """Distributions of Debian's that /opt/ml sees; audits find them among Debian's packages."""
    found = importlib.metadata.distributions(path=["/usr/lib/python3/dist-packages"])
    return [Package(each.metadata["Name"].lower(), each.version.partition("+")[0], "ml") for each in found]


def manifest(target: str, version: str, python: list[Package], debian: list[Package]) -> dict[str, Any]:
    """What `gpubox-versions` tells."""
    frameworks = []
    for name, candidates in FRAMEWORKS.items():
        # An environment may have what another has too: each is told, where it is.
        for found in (package for package in python if package.name in candidates):
            frameworks.append({"name": name, "version": found.version, "environment": found.environment})
    versions = {package.name: package.version for package in debian}
    frameworks += [
        {"name": name, "version": upstream(versions[package]), "environment": "debian"}
        for name, package in DEBIANS.items()
        if package in versions
    ]
    return {
        "image": target,
        "version": version,
        "debian": Path("/etc/debian_version").read_text().strip(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "cuda": [asdict(cuda) for cuda in cudas(python)],
        "frameworks": frameworks,
    }


def upstream(version: str) -> str:
    """A Debian package's version without Debian's part: 1:10.0p1-7 is 10.0p1."""
    return re.sub(r"^\d+:|[+~-].*$", "", version)


@dataclass(frozen=True)
class Cuda:
    """The CUDA of an environment."""

    environment: str
    version: str
    cudnn: str
    oldest_driver: str


def cudas(python: Iterable[Package]) -> list[Cuda]:
    """The CUDA of each environment that has one."""
    versions = {(package.environment, package.name): package.version for package in python}
    found = []
    for environment, name in versions:
        if name in CUDA:
            cuda = ".".join(versions[environment, name].split(".")[:2])
            cudnn = next((versions[environment, n] for n in CUDNN if (environment, n) in versions), "")
            driver = OLDEST_DRIVER.get(int(cuda.partition(".")[0]), "")
            found.append(Cuda(environment, cuda, cudnn, driver))
    return found


def sbom(target: str, version: str, python: list[Package], debian: list[Package]) -> dict[str, Any]:
    """Every package, as CycloneDX."""
    components = [component(f"pkg:pypi/{p.name}@{p.version}", p) for p in python]
    components += [component(f"pkg:deb/debian/{p.name}@{p.version}?distro=trixie", p) for p in debian]
    content = json.dumps(components, sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": "image",
                "name": f"gpubox/{target}",
                "version": version,
            }
        },
        "components": components,
    }


def component(purl: str, package: Package) -> dict[str, Any]:
    """One package; where it is, is told as its group's property."""
    told: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"{package.environment}:{purl}",
        "name": package.name,
        "version": package.version,
        "purl": purl.replace("+", "%2B"),
        "properties": [{"name": "gpubox:environment", "value": package.environment}],
    }
    if package.license:
        told["licenses"] = [{"license": {"name": package.license}}]
    return told


def main(target: str, version: str, folder: str) -> None:
    """Write both files."""
    environments = [found.parent for found in sorted(Path("/opt").glob("*/pyvenv.cfg"))]
    python = [package for environment in environments for package in python_packages(environment)]
    debian = debian_packages()
    own = {(package.name, package.environment) for package in python}
    seen = python + [p for p in debians_python_packages() if (p.name, p.environment) not in own]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for file, content in (
        ("manifest.json", manifest(target, version, seen, debian)),
        ("sbom.cdx.json", sbom(target, version, python, debian)),
    ):
        Path(folder, file).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
