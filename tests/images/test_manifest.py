"""What the image tells of itself: versions, bill of materials, labels, size."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import docker
import pytest

MANIFEST, SBOM = "/usr/local/share/gpubox/manifest.json", "/usr/local/share/gpubox/sbom.cdx.json"
PROMISED = {
    *("PyTorch", "TensorFlow", "Keras", "JAX", "Caffe", "PyTensor", "torchvision", "scikit-learn", "XGBoost"),
    *("LightGBM", "transformers", "diffusers", "datasets", "accelerate", "peft", "safetensors"),
    *("sentence-transformers", "spaCy", "ONNX Runtime", "OpenCV", "Pillow", "NumPy", "SciPy", "pandas"),
    *("Matplotlib", "IPython", "TensorBoard", "JupyterLab", "JupyterHub", "OpenBLAS"),
    *("TigerVNC", "XFCE", "Mesa", "OpenSSH"),
}
INSTALLED = (
    "import importlib.metadata as m, json, re, sys\n"
    "found = m.distributions(path=sys.argv[1:])\n"
    "print(json.dumps({re.sub('[-_.]+', '-', each.name).lower(): each.version for each in found}))"
)
SITE = "/opt/ml/lib/python3.13/site-packages"


def in_box(image: str, *command: str) -> str:
    """What a command prints in a new container that has no network."""
    ran = subprocess.run(
        ["docker", "run", "--rm", "--network=none", image, *command],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def manifest(image: str) -> Any:
    """What gpubox-versions tells programs."""
    return json.loads(in_box(image, "gpubox-versions", "--json"))


@pytest.fixture(scope="module")
def sbom(image: str) -> Any:
    """The bill of materials."""
    return json.loads(in_box(image, "cat", SBOM))


def test_every_framework_of_the_list_is_told_with_its_version(manifest: Any) -> None:
    told = {each["name"]: each["version"] for each in manifest["frameworks"]}
    assert set(told) == PROMISED
    assert all(re.match(r"\d+\.\d+", version) for version in told.values())
    assert manifest["image"] == "cpu"
    assert manifest["python"].startswith("3.13.")
    assert manifest["cuda"] == []


def test_versions_are_what_python_imports(image: str, manifest: Any) -> None:
    told = {each["name"]: each["version"] for each in manifest["frameworks"]}
    modules = "numpy", "scipy", "pandas", "sklearn", "torch"
    imports = (
        f"import {', '.join(modules)}\nfor m in {', '.join(modules)}: print(m.__version__.split('+')[0])"
    )
    said = in_box(image, "python", "-c", imports).split()
    assert said == [told[name] for name in ("NumPy", "SciPy", "pandas", "scikit-learn", "PyTorch")]


def test_people_get_a_table(image: str, manifest: Any) -> None:
    head, blank, *rows = in_box(image, "gpubox-versions").splitlines()
    assert re.fullmatch(r"gpubox cpu \S+, Debian 13\S*, Python 3\.13\.\d+, no CUDA", head)
    assert blank == ""
    assert [row.split()[-1] for row in rows] == [each["version"] for each in manifest["frameworks"]]


def test_the_label_says_what_the_manifest_says(
    image: str, manifest: Any, docker_client: docker.DockerClient
) -> None:
    told = {each["name"]: each["version"] for each in manifest["frameworks"]}
    label = docker_client.images.get(image).labels["gpubox.image.contents"]
    for words in label.split(", "):
        name, version = words.split()
        assert told[name].startswith(f"{version}.")


def test_the_bill_of_materials_names_every_python_package(image: str, sbom: Any) -> None:
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    told = {
        part["name"]: part["version"] for part in sbom["components"] if part["purl"].startswith("pkg:pypi/")
    }
    assert told == json.loads(in_box(image, "python", "-c", INSTALLED, SITE))


def test_the_bill_of_materials_names_every_debian_package(image: str, sbom: Any) -> None:
    listed = in_box(image, "dpkg-query", "-W", "-f", "${Package} ${Version}\\n").splitlines()
    told = {
        f"{part['name']} {part['version']}"
        for part in sbom["components"]
        if part["purl"].startswith("pkg:deb/")
    }
    assert told == set(listed)
    assert len({part["bom-ref"] for part in sbom["components"]}) == len(sbom["components"])


def test_the_proof_of_the_build_is_in_it(image: str) -> None:
    assert re.search(
        r"^All \d+ work", in_box(image, "cat", "/usr/local/share/gpubox/proof.txt"), re.MULTILINE
    )


def test_it_is_not_larger_than_promised(image: str, docker_client: docker.DockerClient) -> None:
    """Neither the frameworks nor what the desktop and ssh add to them."""
    built = docker_client.images.get(image)
    desktop = sum(each["Size"] for each in built.history() if '/install "${DESKTOP}"' in each["CreatedBy"])
    assert 0 < desktop <= 461e6
    assert built.attrs["Size"] - desktop <= 4.0e9


def test_nothing_in_it_is_there_twice(image: str) -> None:
    """Of what a layer holds no later layer has another copy, and libraries are not there under two names."""
    count = (
        "import hashlib, os, sys\n"
        "seen, twice = {}, 0\n"
        "for folder, _, names in os.walk('/opt/ml'):\n"
        "    for path in (os.path.join(folder, name) for name in names):\n"
        "        stat = os.lstat(path)\n"
        "        if os.path.islink(path) or stat.st_size < 1 << 20: continue\n"
        "        digest = hashlib.blake2b(open(path, 'rb').read()).digest()\n"
        "        if seen.setdefault(digest, stat.st_ino) != stat.st_ino: print(path)\n"
    )
    assert in_box(image, "python", "-c", count) == ""
