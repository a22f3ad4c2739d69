"""Images written by hand: nothing of the container, all of the image that it came from."""

import io
import json
import tarfile

from gpubox.machine_templates import imagefile

PARENT = {
    "Architecture": "amd64",
    "Os": "linux",
    "Config": {"Env": ["PATH=/bin"], "User": "jovyan", "Labels": {"a": "b"}, "Cmd": ["run"], "Volumes": None},
    "RootFS": {"Layers": ["sha256:1", "sha256:2"]},
}


def layer(*entries):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    file.seek(0)
    return file


def entry(name, kind=tarfile.REGTYPE, **fields):
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def test_the_config_is_the_parents_over_more_layers():
    config = imagefile.clean_config(PARENT, ["sha256:1", "sha256:2", "sha256:3"], "gpubox/cpu:latest", 0.0)
    assert config["config"]["Env"] == ["PATH=/bin"] and config["config"]["User"] == "jovyan"
    assert config["config"]["Labels"] == {"a": "b", "gpubox.template.base": "gpubox/cpu:latest"}
    assert config["rootfs"]["diff_ids"] == ["sha256:1", "sha256:2", "sha256:3"]
    assert [one["created_by"] for one in config["history"]] == ["gpubox/cpu:latest"] * 2 + ["gpubox template"]


def test_the_file_has_the_layers_that_the_engine_has_not_and_names_for_all():
    new = layer((entry("opt/x"), b"1"))
    name = imagefile.diff_id(new)
    config = imagefile.clean_config(PARENT, ["sha256:1", "sha256:2", name], "base", 0.0)
    file = io.BytesIO()
    imagefile.write(file, config, "gpubox/template:1", {name: new})
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json"))
        assert manifest["RepoTags"] == ["gpubox/template:1"] and len(manifest["Layers"]) == 3
        assert set(archive.getnames()) == {"config.json", "manifest.json", manifest["Layers"][2]}


def test_a_layer_is_copied_without_what_is_left_out_and_with_what_files_carry_along():
    capability = {"SCHILY.xattr.security.capability": "x"}
    source = layer(
        (entry("opt/keep", uid=5, mode=0o4755, pax_headers=capability), b"kept"),
        (entry("opt/secret"), b"gone"),
        (entry("opt/link", tarfile.LNKTYPE, linkname="opt/secret"), b""),
        (entry("opt/.wh.deleted"), b""),
        (entry("opt/" + "long" * 60), b"named in a header"),
    )
    target = io.BytesIO()
    imagefile.filter_layer(source, target, lambda path: path == "/opt/secret")
    target.seek(0)
    with tarfile.open(fileobj=target) as kept:
        assert kept.getnames() == ["opt/keep", "opt/.wh.deleted", "opt/" + "long" * 60]
        found = kept.getmember("opt/keep")
        assert (found.uid, found.mode, found.pax_headers) == (5, 0o4755, capability)
        assert kept.extractfile(found).read() == b"kept"


def test_folders_are_kept_empty_with_their_owners():
    entries = [
        entry("log", tarfile.DIRTYPE, mode=0o755),
        entry("log/nginx", tarfile.DIRTYPE, mode=0o750, uid=33, gid=4),
        entry("log/nginx/access.log"),
    ]
    with tarfile.open(fileobj=imagefile.folders_layer(entries, "/var/log")) as kept:
        assert kept.getnames() == ["var/log", "var/log/nginx"]
        assert (kept.getmember("var/log/nginx").uid, kept.getmember("var/log/nginx").mode) == (33, 0o750)
    assert imagefile.folders_layer([], "/var/log") is None
