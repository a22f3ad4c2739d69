"""Templates that move between hubs, by file and by registry, and saves side by side: on small machines."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from fixtures.engine import IMAGE, STAND_IN_SERVER
from gpubox.control.client import HubRefused, ask

CPU = {"name": "cpu", "title": "CPU", "cpus": 1, "memory": "256M"}
CONFIG = f"""
c.DockerSpawner.image = {IMAGE!r}
c.DockerSpawner.cmd = {STAND_IN_SERVER!r}
c.GPUHub.rules = [{{"users": ["carol"], "templates": "1M"}}]
"""
ADMIN = {"name": "", "groups": [], "is_admin": True}


@pytest.fixture(scope="module")
def hub(make_module_hub, registry):
    environment = {"DOCKER_CONFIG": str(registry.login)}
    hub = make_module_hub(machines=[CPU], environment=environment, extra_config=CONFIG).start()
    yield hub
    hub.close()
    client = hub.engine()
    for image in client.images.list():
        for tag in image.tags:
            if hub.id in tag:
                client.images.remove(tag, force=True)


def wish(hub, what, **fields):
    return ask(lambda client: client.do(f"templates/{what}", **fields), hub.directory / "state")


def actor(user):
    return {"name": user, "groups": [], "is_admin": False}


def begin(hub, user, name, server=""):
    return wish(
        hub, "save", actor=actor(user), owner=user, server=server, name=name, note=f"{name} of {user}"
    )


def ended(hub, job):
    def over():
        jobs = wish(hub, "jobs", actor=ADMIN)["jobs"]
        (found,) = (one for one in jobs if one["id"] == job["id"])
        return found if found["ended_at"] else None

    return hub.until(over, "it has ended", 120)


def template(hub, reference):
    found = [one for one in wish(hub, "overview", actor=ADMIN)["templates"] if one["reference"] == reference]
    return found[0] if found else None


def install(hub, user, words, server=""):
    script = f"mkdir -p /opt/lab; echo '{words}' >/opt/lab/file; echo key >/opt/lab/.netrc"
    code, output = hub.container(user, server).exec_run(["sh", "-c", script], user="root")
    assert code == 0, output


def started_with(hub, user, reference):
    """What a machine from the template has, where the first one installed it."""
    hub.run(user, "cpu", template=reference)
    box = hub.container(user)
    found = box.exec_run(["cat", "/opt/lab/file"]).output.decode().strip()
    assert box.exec_run(["id", "-u"]).output == b"1000\n"
    hub.stop(user)
    return found


def gpubox(hub, *words):
    environment = {**os.environ, "GPUBOX_DIR": str(hub.directory / "state")}
    command = [Path(sys.executable).with_name("gpubox"), "template", *map(str, words)]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=120)


def test_machines_of_one_and_of_several_users_are_saved_at_once(hub):
    machines = [("alice", "", "one"), ("alice", "two", "two"), ("bob", "", "one")]
    for user, server, _ in machines:
        hub.run(user, "cpu", server)
        install(hub, user, f"{user}/{server}", server)
    jobs = [begin(hub, user, name, server) for user, server, name in machines]
    assert [ended(hub, job)["state"] for job in jobs] == ["done"] * 3
    # Under one name at once: two versions, each whole.
    again = [begin(hub, "alice", "one", server) for server in ("", "two")]
    assert sorted(ended(hub, job)["version"] for job in again) == [2, 3]
    hub.stop_all()
    assert started_with(hub, "alice", "alice/two") == "alice/two"
    assert started_with(hub, "bob", "bob/one") == "bob/"


@pytest.fixture(scope="module")
def lab(hub):
    """Alice's template, in a file; at the engine there is nothing of it any more."""
    hub.run("alice", "cpu")
    install(hub, "alice", "from alice")
    assert ended(hub, begin(hub, "alice", "lab"))["state"] == "done"
    hub.stop("alice")
    file = hub.directory / "lab.tar"
    before = template(hub, "alice/lab")
    done = gpubox(hub, "export", "alice/lab", file)
    assert done.returncode == 0 and "Written to" in done.stdout, done.stderr
    assert gpubox(hub, "rm", "alice/lab").returncode == 0
    return file, before


@pytest.fixture(scope="module")
def private(hub, lab):
    """Another template of Alice's, which is shared with nobody."""
    hub.run("alice", "cpu")
    install(hub, "alice", "for nobody else")
    assert ended(hub, begin(hub, "alice", "private"))["state"] == "done"
    hub.stop("alice")


def test_a_file_brings_a_template_to_another_hub(hub, lab, private):
    file, before = lab
    assert file.stat().st_mode & 0o077 == 0
    assert "there already" in gpubox(hub, "export", "alice/private", file).stderr
    done = gpubox(hub, "import", file, "--owner", "bob")
    assert done.returncode == 0 and "Taken in as bob/lab." in done.stdout, done.stderr
    assert "/opt/lab/.netrc" in done.stdout
    found = template(hub, "bob/lab")
    (was,), (now,) = before["versions"], found["versions"]
    assert (found["note"], now["base"], now["machine"]) == ("lab of alice", IMAGE, "cpu")
    assert abs(now["saved_at"] - was["saved_at"]) <= 1
    assert (now["secrets"], now["cleared"], now["size_bytes"]) == (was["secrets"], False, was["size_bytes"])
    assert found["shares"] == []
    assert started_with(hub, "bob", "bob/lab") == "from alice"
    # Not another version of what is there, which may be shared.
    assert "There is a template bob/lab already" in gpubox(hub, "import", file, "--owner", "bob").stderr


def test_docker_itself_reads_the_file(hub, lab):
    file, _ = lab
    client = hub.engine()
    with file.open("rb") as stream:
        (image,) = client.images.load(stream)
    assert f"gpubox/exported-{hub.id}:lab" in image.tags
    assert client.containers.run(image.id, ["cat", "/opt/lab/file"], remove=True) == b"from alice\n"
    assert not [pair for pair in image.attrs["Config"]["Env"] or () if "JUPYTERHUB" in pair]
    client.images.remove(f"gpubox/exported-{hub.id}:lab")


def changed(file, target, change):
    """The file with another config: ``change`` is called with it."""
    with tarfile.open(file) as old, tarfile.open(target, "w") as new:
        manifest = json.load(old.extractfile("manifest.json"))
        for member in old:
            content = old.extractfile(member) if member.isreg() else None
            if member.name == manifest[0]["Config"]:
                config = json.load(content)
                change(config)
                data = json.dumps(config).encode()
                member.size, content = len(data), io.BytesIO(data)
            new.addfile(member, content)
    return target


def test_a_files_config_cannot_make_root_of_who_starts_it_nor_take_a_layer_that_is_not_in_it(
    hub, lab, private, tmp_path
):
    file, _ = lab

    def as_root(config):
        config["config"].update(User="root", Env=["GRANT_SUDO=yes", "JUPYTERHUB_USER=admin"])

    done = gpubox(
        hub, "import", changed(file, tmp_path / "root.tar", as_root), "--owner", "bob", "--name", "root"
    )
    assert done.returncode == 0, done.stderr
    assert started_with(hub, "bob", "bob/root") == "from alice"  # as uid 1000, which that looks at

    private = hub.engine().images.get(image_of(hub, "alice", "private")).attrs["RootFS"]["Layers"]

    def others(config):
        config["rootfs"]["diff_ids"] = private

    stolen = changed(file, tmp_path / "stolen.tar", others)
    refused = gpubox(hub, "import", stolen, "--owner", "bob", "--name", "stolen")
    assert refused.returncode == 1 and "not what its digest says" in refused.stderr, refused.stderr
    assert template(hub, "bob/stolen") is None
    assert hub.engine().images.list(f"gpubox/saving-{hub.id}") == []


def image_of(hub, owner, name):
    (row,) = hub.query(
        "SELECT image FROM template_version JOIN template ON template.id = template_id"
        f" WHERE owner = '{owner}' AND name = '{name}' AND number = 1"
    )
    return row["image"]


def cancelled(hub, what, fields):
    """Begin a move, and want it no more."""
    job = wish(hub, what, actor=ADMIN, **fields)
    wish(hub, "cancel", actor=ADMIN, save=job["id"])
    assert ended(hub, job)["state"] == "cancelled"


def test_an_import_that_is_cancelled_leaves_nothing(hub, lab):
    hub.run("bob", "cpu")
    box = hub.container("bob")
    assert box.exec_run(["sh", "-c", "head -c 300000000 /dev/urandom >/opt/big"], user="root").exit_code == 0
    assert ended(hub, begin(hub, "bob", "big"))["state"] == "done"
    hub.stop("bob")
    file = hub.directory / "big.tar"
    send = {"template": "bob/big", "path": str(file), "target": ""}
    cancelled(hub, "send", send)
    assert list(hub.directory.glob("*big*")) == []
    assert ended(hub, wish(hub, "send", actor=ADMIN, **send))["state"] == "done"
    cancelled(hub, "bring", {"owner": "alice", "name": "big", "path": str(file), "source": ""})
    assert template(hub, "alice/big") is None
    assert hub.engine().images.list(f"gpubox/saving-{hub.id}") == []
    assert gpubox(hub, "prune").stdout == "There is nothing to remove.\n"
    refused = gpubox(hub, "import", file, "--owner", "carol")
    assert "0.30 GB" in refused.stderr and "templates may take" in refused.stderr


def test_a_registry_brings_a_template_to_another_hub(hub, lab, registry):
    file, _ = lab
    target = f"{registry.host}/lab/torch:2"
    if template(hub, "bob/lab") is None:
        assert gpubox(hub, "import", file, "--owner", "bob").returncode == 0
    done = gpubox(hub, "push", "bob/lab", target)
    assert done.returncode == 0 and "sha256:" in done.stdout, done.stderr
    assert gpubox(hub, "rm", "bob/lab").returncode == 0
    done = gpubox(hub, "pull", target, "--owner", "carol", "--name", "mine")
    assert done.returncode == 0, done.stderr
    found = template(hub, "carol/mine")
    assert (found["note"], found["versions"][0]["secrets"]) == ("lab of alice", ["/opt/lab/.netrc"])
    assert started_with(hub, "carol", "carol/mine") == "from alice"
    assert not [tag for image in hub.engine().images.list() for tag in image.tags if registry.host in tag]

    unknown = gpubox(hub, "pull", f"{registry.host}/lab/none", "--owner", "bob")
    assert unknown.returncode == 1 and "manifest unknown" in unknown.stderr
    assert "names no place in a registry" in gpubox(hub, "pull", "gpubox/cpu:latest", "--owner", "bob").stderr
    (registry.login / "config.json").write_text("{}")
    assert "no basic auth credentials" in gpubox(hub, "pull", target, "--owner", "bob").stderr


def test_only_admins_move_templates(hub, lab):
    for what, fields in (
        ("send", {"template": "alice/private", "path": "/tmp/x", "target": ""}),
        ("bring", {"owner": "alice", "name": "x", "path": "/etc/passwd", "source": ""}),
    ):
        with pytest.raises(HubRefused) as refused:
            wish(hub, what, actor=actor("alice"), **fields)
        assert refused.value.status == 403
