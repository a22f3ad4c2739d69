"""Files with templates from elsewhere: what of them is taken, and what is refused with which words."""

import hashlib
import io
import json
import tarfile

import pytest

from gpubox.machine_templates import packing
from gpubox.machine_templates.imagefile import LABEL_BASE, LABEL_NAME, LABEL_NOTE, LABEL_SAVED
from gpubox.machine_templates.packing import ImageFile
from gpubox.refusal import PoolRefusal

LAYER = b"a layer's bytes"
DIGEST = f"sha256:{hashlib.sha256(LAYER).hexdigest()}"
CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "config": {
        "User": "root",
        "Entrypoint": ["entry"],
        "Cmd": ["serve"],
        "WorkingDir": "/home/jovyan",
        "Env": ["PATH=/bin", "JUPYTERHUB_API_TOKEN=t", "NVIDIA_VISIBLE_DEVICES=all", "NB_UID=0"],
        "Volumes": {"/home/jovyan": {}},
        "ExposedPorts": {"22/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "evil"]},
        "OnBuild": ["RUN evil"],
        "Labels": {LABEL_NAME: "lab", LABEL_NOTE: "of elsewhere", LABEL_SAVED: "1000", "gpubox.hub": "mine"},
    },
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
}
MANIFEST = [{"Config": "c.json", "RepoTags": ["gpubox/cpu:latest"], "Layers": ["l.tar"]}]


def archive(path, config=CONFIG, manifest=MANIFEST, layer=LAYER, change=lambda entry: entry):
    """A file as docker save writes it; ``change`` may do something to each entry."""
    with tarfile.open(path, "w") as file:
        parts = {"l.tar": layer, "c.json": config, "manifest.json": manifest}
        for name, content in parts.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(change(entry), io.BytesIO(data))
    return path


def test_the_config_is_made_anew_and_keeps_how_programs_are_started(tmp_path):
    with ImageFile(archive(tmp_path / "a.tar")) as found:
        assert found.config["config"] == {
            "Entrypoint": ["entry"],
            "Cmd": ["serve"],
            "WorkingDir": "/home/jovyan",
            "Env": ["PATH=/bin"],
        }
        assert found.config["rootfs"]["diff_ids"] == [DIGEST]
        assert (found.about.name, found.about.note, found.about.saved_at) == ("lab", "of elsewhere", 1000)
        assert found.open(DIGEST, lambda size: None).read() == LAYER


def test_words_from_elsewhere_are_left_out_where_they_are_none():
    labels = {LABEL_NAME: "../x", LABEL_NOTE: "two\nlines", LABEL_SAVED: "99999999999", LABEL_BASE: "\x1b"}
    assert packing.about(labels) == packing.About()
    assert packing.about(["no labels"]) == packing.About()


def test_a_layer_that_is_not_what_its_digest_says_is_not_handed_out_whole(tmp_path):
    with ImageFile(archive(tmp_path / "a.tar", layer=b"another's, 15 b")) as found:
        with pytest.raises(PoolRefusal, match="not what its digest says"):
            found.open(DIGEST, lambda size: None).read()


def as_link(entry):
    if entry.name == "l.tar":
        entry.type, entry.linkname, entry.size = tarfile.SYMTYPE, "/etc/shadow", 0
    return entry


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"change": as_link}, "a layer is missing"),
        ({"manifest": [{**MANIFEST[0], "Layers": ["/etc/passwd"]}]}, "a layer is missing"),
        ({"manifest": [{**MANIFEST[0], "Config": "../../etc/passwd"}]}, "config is missing"),
        ({"manifest": [*MANIFEST, *MANIFEST]}, "several images"),
        ({"manifest": {"no": "list"}}, "several images"),
        ({"manifest": b"[" * 100000}, "damaged"),
        ({"config": {**CONFIG, "rootfs": {"diff_ids": ["sha256:../x"]}}}, "layers that are none"),
        ({"config": {**CONFIG, "rootfs": []}}, "no layers"),
        ({"config": {**CONFIG, "config": ["x"]}}, "no layers"),
        ({"config": {**CONFIG, "config": {"Env": {"PATH": 1}}}}, "environment"),
        ({"config": {**CONFIG, "rootfs": {"diff_ids": [DIGEST] * 2}}}, "not those of its config"),
        ({"config": b"{" + b" " * 5_000_000 + b"}"}, "too large"),
    ],
)
def test_what_is_no_image_is_refused_in_words(tmp_path, parts, words):
    with pytest.raises(PoolRefusal, match="This is no template that can be taken") as refused:
        ImageFile(archive(tmp_path / "a.tar", **parts))
    assert words in str(refused.value)


def test_what_is_no_archive_is_refused_in_words(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"\x1f\x8b some zip")
    with pytest.raises(PoolRefusal, match="no tar archive"):
        ImageFile(path)
    whole = archive(path).read_bytes()
    path.write_bytes(whole[:700])
    with pytest.raises(PoolRefusal, match=r"damaged|missing"):
        ImageFile(path)
    with pytest.raises(PoolRefusal, match="cannot be read"):
        ImageFile(tmp_path / "none.tar")


def test_compressed_layers_are_refused_in_words(tmp_path):
    with ImageFile(archive(tmp_path / "a.tar", layer=b"\x1f\x8b zipped")) as found:
        with pytest.raises(PoolRefusal, match="compressed"):
            found.open(DIGEST, lambda size: None)
