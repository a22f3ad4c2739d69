"""Templates on a real hub and engine: saved while the machine goes on, shared, started from, deleted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from gpubox.control.client import HubRefused, ask

IMAGE = "gpubox/cpu:" + os.environ.get("GPUBOX_IMAGE_TAG", "latest")
ROOT = {"name": "root", "title": "CPU with root", "cpus": 2, "memory": "2G", "root": True, "image": IMAGE}
CPU = {"name": "cpu", "title": "CPU", "cpus": 2, "memory": "1G", "image": IMAGE}
RULES = """
c.GPUHub.rules = [{"users": ["carol"], "templates": "1M", "words": "Ask Dr. Ada."}]
"""
ALICE, BOB, CAROL = ({"name": name, "groups": [], "is_admin": False} for name in ("alice", "bob", "carol"))


@pytest.fixture(scope="module")
def hub(make_module_hub):
    hub = make_module_hub(machines=[CPU, ROOT], extra_config=RULES, service=True).start()
    yield hub
    hub_id = (hub.directory / "state" / "hub-id").read_text().strip()
    hub.close()
    client = hub.engine()
    for image in [
        *client.images.list(f"gpubox/template-{hub_id}"),
        *client.images.list(f"gpubox/saving-{hub_id}"),
    ]:
        client.images.remove(image.id, force=True)


def wish(hub, what, **fields):
    return ask(lambda client: client.do(f"templates/{what}", **fields), hub.directory / "state")


def refused(hub, what, **fields):
    with pytest.raises(HubRefused) as refusal:
        wish(hub, what, **fields)
    return refusal.value


def ended(hub, save, actor):
    """The save once it is over."""

    def over():
        (found,) = (one for one in wish(hub, "overview", actor=actor)["saves"] if one["id"] == save["id"])
        return found if found["ended_at"] else None

    return hub.until(over, "the save has ended", 120)


def save(hub, actor, name, note="", server=""):
    begun = wish(hub, "save", actor=actor, owner=actor["name"], server=server, name=name, note=note)
    return ended(hub, begun, actor)


def box_run(hub, user, script, as_user="jovyan"):
    code, output = hub.container(user).exec_run(["bash", "-c", script], user=as_user)
    assert code == 0, output.decode()
    return output.decode()


@pytest.fixture(scope="module")
def lab(hub):
    """Alice's machine, set up as root, and saved as alice/lab."""
    hub.run("alice", "root")
    box_run(
        hub,
        "alice",
        """set -e
        echo 'def greet(): return "hello from alice"' > /tmp/wheel.py
        sudo install -m 644 /tmp/wheel.py /opt/ml/lib/python3.13/site-packages/labtools.py
        echo home-secret > ~/mine.txt
        sudo mkdir -p /opt/lab /var/log/labd && sudo chown www-data /var/log/labd
        echo log-secret | sudo tee /var/log/labd/today.log
        echo weights | sudo tee /opt/lab/model.bin
        sudo rm /usr/bin/rsync
        echo tmp-secret > /tmp/mine; echo root-secret | sudo tee /root/.bash_history
        for key in rsa ed25519; do echo host-secret-$key | sudo tee /etc/ssh/ssh_host_${key}_key; done
        """,
    )
    return save(hub, ALICE, "lab", "Tools of the lab")


def everything_in(hub, image):
    """All bytes of an image but what is of the one that machines start from: its config and history as the
    engine keeps them, and each layer of its own, names of files included."""
    client = hub.engine()
    found = client.images.get(image)
    inherited = set(client.images.get(IMAGE).attrs["RootFS"]["Layers"])
    own = [layer for layer in found.attrs["RootFS"]["Layers"] if layer not in inherited]
    root = Path(client.info()["DockerRootDir"])
    yield (root / "image/overlay2/imagedb/content/sha256" / found.id.partition(":")[2]).read_bytes()
    driver = found.attrs["GraphDriver"]["Data"]
    for layer in [driver["UpperDir"], *driver["LowerDir"].split(":")][: len(own)]:
        for path in Path(layer).rglob("*"):
            yield str(path).encode()
            if path.is_file() and not path.is_symlink():
                yield path.read_bytes()


def image_of(hub, reference):
    """The engine's name of a version, which nobody but the hub is told."""
    name, _, number = reference.partition("/")[2].partition(":")
    engine = sa.create_engine(hub.database_url)
    with engine.connect() as db:
        return db.scalar(
            sa.text(
                "SELECT image FROM template_version JOIN template ON template.id = template_id"
                " WHERE name = :name AND number = :number"
            ),
            {"name": name, "number": int(number)},
        )


def test_sudo_works_where_the_type_has_root_and_nowhere_else(hub, lab):
    assert box_run(hub, "alice", "sudo id -u").strip() == "0"
    assert box_run(hub, "alice", "id -un").strip() == "jovyan"
    hub.run("bob", "cpu")
    code, _ = hub.container("bob").exec_run(["sudo", "id"], user="jovyan")
    assert code != 0
    hub.stop("bob")


def test_nothing_of_the_person_or_the_hub_is_in_any_layer_or_the_config(hub, lab):
    assert lab["state"] == "done", lab
    token = hub.container("alice").attrs["Config"]["Env"]
    secrets = [
        pair.partition("=")[2] for pair in token if pair.startswith(("JUPYTERHUB_API_TOKEN", "JPY_API"))
    ]
    assert secrets and all(len(secret) > 20 for secret in secrets)
    image = image_of(hub, "alice/lab:1")
    config = hub.engine().images.get(image).attrs["Config"]
    assert not [
        pair for pair in config["Env"] if pair.startswith(("JUPYTERHUB", "JPY", "GPUBOX", "GRANT_SUDO"))
    ]
    assert config["User"] == "jovyan" and config["Cmd"] == ["gpubox-singleuser"]
    content = b"\n".join(everything_in(hub, image))
    forbidden = (
        "JUPYTERHUB_API_TOKEN=",
        "home-secret",
        "tmp-secret",
        "root-secret",
        "host-secret",
        "log-secret",
    )
    for word in [*secrets, *forbidden]:
        assert word.encode() not in content, word
    assert b"hello from alice" in content
    # The machine has all of it still: what stays out is put away for as long as the save takes.
    assert "host-secret-rsa" in box_run(hub, "alice", "sudo cat /etc/ssh/ssh_host_rsa_key")


def test_another_person_starts_from_it_once_it_is_shared(hub, lab):
    answer = hub.ask_for("bob", "root", template="alice/lab")
    assert "There is no template alice/lab" in hub.failure("bob") or answer.status_code == 400
    hub.until(lambda: not hub.server("bob"), "bob's start has ended")
    assert wish(hub, "overview", actor=BOB)["templates"] == []

    wish(hub, "share", actor=ALICE, template="alice/lab", kind="user", name="bob", accept=False)
    (seen,) = wish(hub, "overview", actor=BOB)["templates"]
    assert (seen["owner"], seen["note"], seen["manageable"]) == ("alice", "Tools of the lab", False)
    hub.run("bob", "cpu", template="alice/lab")
    told = box_run(
        hub, "bob", "cd / && python -c 'import labtools; print(labtools.greet())'; cat /opt/lab/model.bin"
    )
    assert told.split("\n")[:2] == ["hello from alice", "weights"]
    code, _ = hub.container("bob").exec_run(["test", "-e", "/usr/bin/rsync"])
    assert code == 1, "what was deleted is deleted"
    owner = box_run(hub, "bob", "stat -c %U /var/log/labd; ls -A /var/log/labd; ls ~/mine.txt 2>&1 || true")
    assert owner.split("\n")[0] == "www-data" and "today" not in owner and "No such file" in owner
    environment = hub.container("bob").attrs["Config"]["Env"]
    assert "JUPYTERHUB_USER=bob" in environment and "JUPYTERHUB_USER=alice" not in environment


def test_what_is_in_use_is_not_deleted_and_who_may_not_does_not(hub, lab):
    in_use = refused(hub, "remove", actor=ALICE, template="alice/lab")
    assert in_use.status == 409 and "in use" in str(in_use) and "bob" in str(in_use)
    assert refused(hub, "remove", actor=BOB, template="alice/lab").status == 403
    assert refused(hub, "remove", actor=CAROL, template="alice/lab").status == 404
    assert (
        refused(hub, "share", actor=CAROL, template="alice/lab", kind="everyone", name="", accept=True).status
        == 404
    )
    # It runs on when it is shared no more; another start of it is refused.
    wish(hub, "unshare", actor=ALICE, template="alice/lab", kind="user", name="bob")
    assert hub.is_ready("bob")
    hub.stop("bob")
    hub.ask_for("bob", "cpu", template="alice/lab:1")
    assert "no template alice/lab" in hub.failure("bob")


def test_version_two_has_what_one_had_and_secrets_are_told_before_it_is_shared(hub, lab):
    box_run(
        hub,
        "alice",
        "sudo mkdir -p /opt/lab/.aws && echo key | sudo tee /opt/lab/.aws/credentials &&"
        " printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\n' | sudo tee /opt/lab/deploy.pem;"
        " printf -- '-----BEGIN CERTIFICATE-----\n' | sudo tee /opt/lab/public.pem; sudo touch /opt/lab/new",
    )
    wish(hub, "share", actor=ALICE, template="alice/lab", kind="group", name="lab", accept=False)
    done = save(hub, ALICE, "lab")
    assert (done["version"], done["secrets"]) == (2, ["/opt/lab/.aws/credentials", "/opt/lab/deploy.pem"])
    member = {"name": "dora", "groups": ["lab"], "is_admin": False}
    # It was shared before: what looks like a secret is nevertheless nobody else's until she says so.
    assert wish(hub, "overview", actor=member)["templates"][0]["startable"] == [1]
    assert refused(hub, "clear", actor=member, template="alice/lab").status == 403
    warned = refused(hub, "share", actor=ALICE, template="alice/lab", kind="everyone", name="", accept=False)
    assert "/opt/lab/deploy.pem" in str(warned) and "public.pem" not in str(warned)
    wish(hub, "clear", actor=ALICE, template="alice/lab")
    assert wish(hub, "overview", actor=member)["templates"][0]["startable"] == [1, 2]
    wish(hub, "share", actor=ALICE, template="alice/lab", kind="everyone", name="", accept=False)
    assert wish(hub, "overview", actor=CAROL)["templates"][0]["startable"] == [1, 2]
    assert wish(hub, "overview", actor=CAROL)["templates"][0]["versions"][1]["secrets"] == []
    wish(hub, "remove", actor=ALICE, template="alice/lab:1")
    assert wish(hub, "overview", actor=CAROL)["templates"][0]["startable"] == [2]


@pytest.mark.parametrize(
    "name", ["", "../up", "A", "a b", "a/b", "-a", "a:1", "<b>", "a" * 41, "a\n", "gpubox/cpu"]
)
def test_odd_names_are_refused_with_a_sentence(hub, lab, name):
    refusal = refused(hub, "save", actor=ALICE, owner="alice", server="", name=name, note="")
    assert refusal.status == 409 and "cannot be called" in str(refusal)
    assert refused(hub, "remove", actor=ALICE, template=f"alice/{name}x'").status in (404, 409)


def test_two_saves_at_once_and_one_that_is_cancelled(hub, lab):
    begun = wish(hub, "save", actor=ALICE, owner="alice", server="", name="other", note="")
    again = refused(hub, "save", actor=ALICE, owner="alice", server="", name="other", note="")
    assert "being saved already" in str(again)
    wish(hub, "cancel", actor=ALICE, save=begun["id"])
    assert ended(hub, begun, ALICE)["state"] == "cancelled"
    assert "other" not in {one["name"] for one in wish(hub, "overview", actor=ALICE)["templates"]}
    assert refused(hub, "save", actor=BOB, owner="alice", server="", name="mine", note="").status == 403


def test_a_box_saves_itself_with_its_own_token_and_nobody_elses(hub, lab):
    environment = dict(pair.split("=", 1) for pair in hub.container("alice").attrs["Config"]["Env"])
    url = f"{hub.url}/services/gpubox/api/templates"
    own = environment["JUPYTERHUB_API_TOKEN"]
    headers = {"Authorization": f"token {own}"}
    person = hub.api("POST", "/users/alice/tokens", json={"note": "tests"}).json()["token"]

    def post(what, token=own, **fields):
        headers = {"Authorization": f"token {token}"}
        return requests.post(f"{url}/{what}", json=fields, headers=headers, timeout=60)

    begun = post("save", server="", name="by-box", note="<b>bold</b>")
    assert begun.status_code == 200, begun.text
    assert ended(hub, begun.json(), ALICE)["state"] == "done"
    told = requests.get(url, headers=headers, timeout=60).json()
    (found,) = (one for one in told["templates"] if one["name"] == "by-box")
    assert (found["note"], found["mine"]) == ("<b>bold</b>", True)
    assert post("save", server="", name="../x").status_code == 409
    # Whatever runs in it saves no other machine, and neither shares nor deletes what its user has.
    other = post("save", server="training", name="x")
    assert other.status_code == 403 and "no other one" in other.json()["message"]
    assert post("cancel", save="0" * 16).status_code == 404
    with_bob = {"template": "alice/by-box", "kind": "user", "name": "bob"}
    wishes = {"share": with_bob, "unshare": with_bob, "describe": {"name": "x"}, "clear": {}, "remove": {}}
    for what, fields in wishes.items():
        refusal = post(what, **{"template": "alice/by-box", **fields})
        assert refusal.status_code == 403 and "page Templates" in refusal.json()["message"], what
    assert post("share", person, **with_bob, accept="yes").status_code == 400
    assert post("share", person, **with_bob, accept=True).status_code == 200
    assert post("save", person, server="none", name="x").status_code == 409
    assert post("remove", person, template="carol/lab").status_code == 404
    assert requests.get(url, timeout=60).status_code == 401
    # The note is somebody's words: the form of whoever it is shared with shows them, and no markup.
    form = render_form(hub, "bob")
    assert "alice/by-box:1" in form and "&lt;b&gt;bold" in form and "<b>bold" not in form
    assert post("remove", person, template="alice/by-box").status_code == 200


def render_form(hub, user):
    """The start form as that user sees it."""
    session = requests.Session()
    page = session.get(f"{hub.url}/hub/login", timeout=60)
    token = session.cookies.get("_xsrf", path="/hub/")
    told = {"username": user, "password": hub.password, "_xsrf": token}
    assert session.post(f"{hub.url}/hub/login", data=told, timeout=60).ok, page.text
    return session.get(f"{hub.url}/hub/spawn", timeout=60).text


def test_the_command_line_saves_lists_shares_and_deletes(hub, lab):
    def gpubox(*words):
        command = [Path(sys.executable).with_name("gpubox"), "template", *words]
        environment = {**os.environ, "GPUBOX_DIR": str(hub.directory / "state")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    box_run(hub, "alice", "sudo touch /opt/lab/id_rsa")
    done = gpubox("save", "alice", "--name", "cli", "--note", "from a terminal")
    assert done.returncode == 0 and "Saved as version 1 of cli." in done.stdout, done.stderr
    assert "/opt/lab/id_rsa" in done.stdout
    refused = gpubox("share", "alice/cli", "--user", "bob")
    assert refused.returncode == 1 and "look like secrets" in refused.stderr
    assert gpubox("share", "alice/cli", "--user", "bob", "--accept").returncode == 0
    (line,) = (line for line in gpubox("list").stdout.splitlines() if line.startswith("alice/cli:1"))
    assert "bob" in line and "from a terminal" in line and IMAGE in line
    assert gpubox("rm", "alice/cli").returncode == 0
    again = gpubox("rm", "alice/cli")
    assert (again.returncode, again.stderr.strip()) == (1, "gpubox: There is no template alice/cli.")
    assert "nothing to remove" in gpubox("prune").stdout


def test_over_the_quota_nothing_is_kept(hub):
    hub.run("carol", "root")
    box_run(hub, "carol", "sudo dd if=/dev/zero of=/opt/big bs=1M count=3")
    done = save(hub, CAROL, "big")
    assert done["state"] == "failed" and "Ask Dr. Ada." in done["words"]
    assert wish(hub, "overview", actor=CAROL)["used_bytes"] == 0


def test_a_hub_killed_in_the_middle_of_a_save_keeps_the_old_state_and_leaves_nothing(hub, lab):
    before = wish(hub, "overview", actor=ALICE)["templates"]
    box_run(hub, "alice", "sudo dd if=/dev/urandom of=/opt/lab/big bs=1M count=200")
    wish(hub, "save", actor=ALICE, owner="alice", server="", name="cut", note="")
    client = hub.engine()
    hub.until(lambda: "Keeping" in saving(hub), "the save is under way", 60)
    hub.kill()
    hub.start()
    assert wish(hub, "overview", actor=ALICE)["templates"] == before
    box_run(hub, "alice", "sudo cat /etc/ssh/ssh_host_rsa_key")
    hub_id = (hub.directory / "state" / "hub-id").read_text().strip()
    done = save(hub, ALICE, "after")
    assert done["state"] == "done", done
    hub.kill()
    hub.start()  # the engine has ended by now what the first one asked for
    hub.until(lambda: not client.images.list(f"gpubox/saving-{hub_id}"), "what was left is gone")


def saving(hub):
    return " ".join(
        save["words"] for save in wish(hub, "overview", actor=ALICE)["saves"] if not save["ended_at"]
    )
