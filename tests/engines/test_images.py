"""Saves at a real engine, where no hub is needed: many layers made one, a file that shrinks, a full disk."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import docker
import pytest

from fixtures.engine import IMAGE, Engine, _make_namespace, _remove_namespace
from gpubox.engines import EngineError, images, layers
from gpubox.engines.images import TemplateImages
from gpubox.refusal import PoolRefusal

HUB = "0123456789abcdef"


@pytest.fixture
def box(docker_client):
    """A machine of the base image, with a token in its environment, in which things were changed."""
    container = docker_client.containers.run(
        IMAGE,
        ["sleep", "600"],
        detach=True,
        environment={"JUPYTERHUB_API_TOKEN": "do-not-keep"},
        volumes=["/tmp"],
    )
    run(
        container,
        "mkdir -p /opt/x; echo kept >/opt/x/file; rm /etc/debian_version; echo old >/root/.bash_history",
    )
    yield container
    container.remove(force=True, v=True)


@pytest.fixture
def keeper(docker_client):
    yield TemplateImages(lambda: docker.APIClient(timeout=600), HUB)
    for repository in (f"gpubox/template-{HUB}", f"gpubox/saving-{HUB}"):
        for image in docker_client.images.list(repository):
            docker_client.images.remove(image.id, force=True)


def run(container, script):
    code, output = container.exec_run(["sh", "-c", script])
    assert code == 0, output.decode()
    return output.decode()


def inside(client, image, script):
    return client.containers.run(image, ["sh", "-c", script], remove=True).decode()


LOOK = "cat /opt/x/file; ls /root/.bash_history /etc/debian_version 2>/dev/null; env | grep JUPYTERHUB; true"


def test_a_machine_of_many_layers_becomes_one_of_one(docker_client, box, keeper, monkeypatch):
    monkeypatch.setattr(images, "MOST_LAYERS", 1)
    kept = keeper.keep(keeper.look(box.id), "flat", IMAGE, lambda words: None)
    assert len(docker_client.images.get(kept.name).attrs["RootFS"]["Layers"]) == 1
    assert inside(docker_client, kept.name, LOOK) == "kept\n"
    assert docker_client.images.list(f"gpubox/saving-{HUB}") == []


def test_what_stays_out_is_back_in_the_machine_when_the_save_is_over(docker_client, box, keeper):
    found = keeper.look(box.id)
    assert found.stale == ("/root/.bash_history",)
    kept = keeper.keep(found, "one", IMAGE, lambda words: None)
    assert run(box, "cat /root/.bash_history") == "old\n"
    assert inside(docker_client, kept.name, LOOK) == "kept\n"
    assert len(docker_client.images.get(kept.name).attrs["RootFS"]["Layers"]) == 2


@pytest.mark.parametrize("where", ["here", "in a container"])
def test_all_that_was_changed_is_found_however_it_was_changed(docker_client, box, where):
    run(
        box,
        # A file with an old date; a folder of the image deleted and made anew; one that was renamed; a name
        # of two lines; a second name for a file of the image.
        """set -e
        mkdir /opt/old && echo x >/opt/old/id_rsa && touch -d 1999-01-01 /opt/old/id_rsa
        rm -r /etc/alternatives && mkdir /etc/alternatives && echo x >/etc/alternatives/.env
        mv /etc/skel /opt/skel && rm -r /usr/share/doc
        echo x >"/opt/two
lines" && ln /etc/passwd /opt/passwd
        """,
    )
    record = docker_client.api.inspect_container(box.id)
    find = {"here": layers.paths, "in a container": layers.by_container}[where]
    found = find(docker_client.api, record["Image"], layers.folders(record)[:1])
    kept = {
        "/opt/old/id_rsa",
        "/etc/alternatives/.env",
        "/opt/skel/.bashrc",
        "/opt/two\nlines",
        "/opt/passwd",
    }
    assert kept <= set(found)
    assert not {"/etc/debian_version", "/usr/share/doc", "/etc/skel"} & set(found), "deleted"
    told = docker_client.api.diff(box.id)
    assert {change["Path"] for change in told if change["Kind"] != 2} <= set(found), (
        "all that the engine tells"
    )


def test_what_comes_again_while_a_save_reads_the_machine_is_in_no_template(
    docker_client, box, keeper, monkeypatch
):
    commit = keeper._commit

    def late(found, save):
        run(box, "echo again >/root/.bash_history")
        commit(found, save)

    monkeypatch.setattr(keeper, "_commit", late)
    with pytest.raises(PoolRefusal, match=r"could not be left out: /root/\.bash_history"):
        keeper.keep(keeper.look(box.id), "late", IMAGE, lambda words: None)
    assert not [tag for image in docker_client.images.list() for tag in image.tags if HUB in tag]


def test_a_file_that_shrinks_all_the_time_does_not_fail_the_save(docker_client, box, keeper):
    run(box, "dd if=/dev/zero of=/opt/x/big bs=1M count=60 2>/dev/null")
    box.exec_run(
        ["sh", "-c", "while :; do : >/opt/x/log; head -c 20000000 /dev/zero >/opt/x/log; done"], detach=True
    )
    kept = keeper.keep(keeper.look(box.id), "busy", IMAGE, lambda words: None)
    assert inside(docker_client, kept.name, "cat /opt/x/file") == "kept\n"
    assert docker_client.containers.get(box.id).status == "running"


@pytest.fixture
def small_engine(docker_client, image):
    """An engine of the test's own with a disk of 600 MB."""
    # pytest's own folders have names that are too long for a socket's path.
    directory = Path(tempfile.mkdtemp(prefix="gpubox-engine-"))
    data = directory / "data"
    data.mkdir()
    _make_namespace()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", str(data)], check=True)
    engine = Engine(directory).start()
    try:
        engine.client().images.load(docker_client.images.get(IMAGE).save(named=IMAGE))
        yield engine
    finally:
        for container in engine.client().containers.list(all=True):
            container.remove(force=True)
        engine.stop()
        _remove_namespace()
        subprocess.run(["umount", "--lazy", str(data)], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def test_a_full_disk_leaves_what_was_there_and_says_so(small_engine):
    client = small_engine.client()
    keeper = TemplateImages(lambda: docker.APIClient(base_url=small_engine.url, timeout=600), HUB)
    box = client.containers.run(IMAGE, ["sleep", "600"], detach=True, network_mode="none")
    run(box, "mkdir /opt/x && echo kept >/opt/x/file")
    first = keeper.keep(keeper.look(box.id), "first", IMAGE, lambda words: None)

    run(box, "head -c 300000000 /dev/urandom >/opt/x/big")
    with pytest.raises(EngineError, match="disk is full, so nothing was kept"):
        keeper.keep(keeper.look(box.id), "second", IMAGE, lambda words: None)
    assert [tag for image in client.images.list() for tag in image.tags if HUB in tag] == [first.name]
    assert run(box, "cat /opt/x/file") == "kept\n"

    run(box, "rm /opt/x/big")
    keeper.keep(keeper.look(box.id), "third", IMAGE, lambda words: None)
    assert inside(client, first.name, "cat /opt/x/file") == "kept\n"
