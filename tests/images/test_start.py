"""The start of a box: with a hub and without, as the image's user, as root with options, as a stranger."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from uuid import uuid4

import docker
import pytest


def run(image: str, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A command in a new container that has no network."""
    box = ("docker", "run", "--rm", "--network=none", *options, image)
    return subprocess.run([*box, *command], capture_output=True, text=True, timeout=120)


def said(image: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """What a command prints that ends well."""
    ran = run(image, *command, options=options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.strip()


def as_root(**environment: str) -> tuple[str, ...]:
    """Started as root, with these settings."""
    return ("--user=root", *(f"--env={name}={value}" for name, value in environment.items()))


@pytest.fixture
def volume(docker_client: docker.DockerClient) -> Iterator[str]:
    """A new volume, for a home."""
    name = f"gpubox-test-{uuid4().hex[:12]}"
    docker_client.volumes.create(name)
    yield name
    docker_client.volumes.get(name).remove(force=True)


# --- as the image's user ----------------------------------------------------------------------------


def test_jax_looks_for_no_gpu_where_there_is_none_unless_told(image: str) -> None:
    print_it = ("sh", "-c", 'echo "[${JAX_PLATFORMS-unset}]"')
    assert said(image, *print_it) == "[cpu]"
    assert said(image, *print_it, options=("--env=JAX_PLATFORMS=",)) == "[]"
    with_gpu = ("--device=/dev/null:/dev/nvidiactl",)
    assert said(image, *print_it, options=with_gpu) == "[unset]"


WHO = "echo $(id -u):$(id -g) $(id -un) $HOME $USER $(umask) $(pwd)"


def test_a_new_home_is_filled_and_what_a_person_deletes_stays_deleted(image: str, volume: str) -> None:
    home = (f"--volume={volume}:/home/jovyan",)
    listed = said(
        image, "sh", "-c", "ls -A ~; rm ~/.bash_logout; echo mine >>~/.bashrc", options=home
    ).split()
    assert {".bashrc", ".profile", ".bash_logout"} <= set(listed)
    again = said(image, "sh", "-c", "ls -A ~; tail -n 1 ~/.bashrc", options=home).split()
    assert ".bash_logout" not in again
    assert again[-1] == "mine"


def test_a_home_that_was_in_use_before_keeps_its_own_files(image: str, volume: str) -> None:
    home = (f"--volume={volume}:/home/jovyan", "--entrypoint=")
    said(image, "sh", "-c", "rm -rf ~/.local ~/.profile; echo mine >~/.bashrc", options=home)
    assert said(image, "sh", "-c", "cat ~/.bashrc; ls -A ~", options=home[:1]).split()[:1] == ["mine"]


def test_a_home_that_cannot_be_written_is_told_in_a_sentence_and_the_box_starts(image: str) -> None:
    ran = run(image, "echo", "started", options=("--tmpfs=/home/jovyan:ro,mode=755",))
    assert ran.stdout.strip() == "started"
    assert "/home/jovyan cannot be written to by uid 1000" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_umask_can_be_set(image: str) -> None:
    assert said(image, "sh", "-c", WHO).split()[4] == "0022"
    assert said(image, "sh", "-c", WHO, options=("--env=NB_UMASK=007",)).split()[4] == "0007"


def test_a_uid_that_the_image_does_not_know_works_in_a_home_of_its_own(image: str) -> None:
    options = ("--user=5000:100", "--tmpfs=/home/jovyan:uid=5000,mode=700")
    count = "import getpass, torch; print(getpass.getuser(), torch.ones(3).sum().item())"
    command = f"cd ~ && echo $HOME && python -c '{count}'"
    assert said(image, "sh", "-c", command, options=options).split() == ["/home/jovyan", "jovyan", "3.0"]


# --- as root, with the options of docker-stacks ------------------------------------------------------


def test_root_becomes_the_user_of_the_image(image: str) -> None:
    assert (
        said(image, "sh", "-c", WHO, options=as_root())
        == "1000:100 jovyan /home/jovyan jovyan 0022 /home/jovyan"
    )


def test_root_becomes_the_user_that_is_asked_for(image: str) -> None:
    options = as_root(NB_USER="ada", NB_UID="1234", NB_GID="5678", NB_GROUP="lab", NB_UMASK="002")
    told = said(image, "sh", "-c", f"{WHO}; id -Gn; echo $PATH; touch ~/x && stat -c %u ~/x", options=options)
    who, groups, path, owner = told.splitlines()
    assert who == "1234:5678 ada /home/ada ada 0002 /home/ada"
    assert groups == "lab users"
    assert "/home/ada/.local/bin" in path and "jovyan" not in path
    assert owner == "1234"


def test_the_user_that_root_became_has_no_way_back(image: str) -> None:
    capabilities = said(image, "grep", "CapEff", "/proc/self/status", options=as_root(NB_UID="2000"))
    assert set(capabilities.split()[1]) == {"0"}
    assert run(image, "sudo", "-n", "id", options=as_root(NB_UID="2000")).returncode != 0


def test_sudo_is_granted_where_the_container_may_have_it(image: str) -> None:
    options = as_root(NB_USER="ada", NB_UID="2000", GRANT_SUDO="yes")
    told = said(image, "sh", "-c", "id -un; sudo -n id -u; sudo -n sh -c 'command -v pip'", options=options)
    assert told.split() == ["ada", "0", "/opt/ml/bin/pip"]
    locked = ("--security-opt=no-new-privileges", *options)
    ran = run(image, "id", "-u", options=locked)
    assert ran.stdout.strip() == "2000" and "GRANT_SUDO is not heeded" in ran.stderr
    assert run(image, "sudo", "-n", "id", options=locked).returncode != 0


def test_a_home_of_somebody_else_can_be_taken_over(image: str, volume: str) -> None:
    home = f"--volume={volume}:/home/jovyan"
    said(image, "sh", "-c", "mkdir -p ~/work && touch ~/work/file", options=(home,))
    options = (home, *as_root(NB_UID="1500", CHOWN_HOME="yes", CHOWN_HOME_OPTS="-R"))
    assert said(image, "stat", "-c", "%u:%g", "/home/jovyan/work/file", options=options) == "1500:100"


def test_other_folders_can_be_given_to_the_user(image: str) -> None:
    options = (*as_root(CHOWN_EXTRA="/data,/scratch"), "--tmpfs=/data", "--tmpfs=/scratch")
    assert said(image, "stat", "-c", "%u", "/data", "/scratch", options=options).split() == ["1000", "1000"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"NB_UID": "0"}, "NB_UID cannot be 0"),
        ({"NB_UID": "ada"}, "are numbers, not 'ada'"),
        ({"NB_USER": "root"}, "NB_USER cannot be 'root'"),
        ({"NB_USER": "../etc"}, "NB_USER cannot be '../etc'"),
    ],
)
def test_an_option_that_makes_no_sense_is_a_sentence(
    image: str, settings: dict[str, str], words: str
) -> None:
    ran = run(image, "id", options=as_root(**settings))
    assert ran.returncode == 1
    assert ran.stderr.startswith("gpubox: ") and words in ran.stderr
    assert ran.stdout == ""


# --- what a person sees ------------------------------------------------------------------------------


def test_with_no_hub_it_is_a_jupyterlab_whose_token_the_log_tells(
    image: str, docker_client: docker.DockerClient, free_port: Callable[[], int]
) -> None:
    port = free_port()
    box = docker_client.containers.run(image, detach=True, ports={"8888/tcp": ("127.0.0.1", port)})
    try:
        token = wait_for(lambda: re.search(r"/lab\?token=([0-9a-f]{48})", box.logs().decode()))[1]
        here = f"http://127.0.0.1:{port}"
        assert urllib.request.urlopen(f"{here}/lab?token={token}", timeout=30).status == 200
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{here}/api/contents", timeout=30)
        began = time.monotonic()
        box.stop(timeout=30)
        assert time.monotonic() - began < 20
    finally:
        box.remove(force=True)


def wait_for(found: Callable[[], re.Match[str] | None]) -> re.Match[str]:
    """What is found within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if match := found():
            return match
        time.sleep(0.2)
    raise AssertionError("it did not come within a minute")


def test_with_a_hub_it_is_the_hubs_server(image: str) -> None:
    """The hub's server with no hub to ask says so; a JupyterLab would just start."""
    ran = run(image, "gpubox-singleuser", "--version", options=("--env=JUPYTERHUB_API_TOKEN=x",))
    assert ran.returncode == 0
    assert ran.stdout.strip() == said(image, "jupyterhub-singleuser", "--version")
    assert said(image, "gpubox-singleuser", "--version") == said(image, "jupyter", "lab", "--version")


def test_git_asks_for_a_name_before_the_first_commit_and_not_after(image: str) -> None:
    terminal = ("--tty",)
    assert "git config --global user.name" in said(image, "bash", "-lic", "true", options=terminal)
    known = (*terminal, "--env=GIT_AUTHOR_EMAIL=ada@example.org")
    assert said(image, "bash", "-lic", "true", options=known) == ""
    assert said(image, "bash", "-lc", "true") == ""


def test_a_shell_completes_and_knows_locales_and_time_zones(image: str) -> None:
    complete = "source /usr/share/bash-completion/bash_completion && _comp_load git && complete -p git"
    assert "git" in said(image, "bash", "-c", complete)
    sort = "printf 'z\\nä\\na\\n' | LC_ALL=de_DE.UTF-8 sort | tr -d '\\n'"
    assert said(image, "sh", "-c", sort) == "aäz"
    assert said(image, "date", "+%Z", options=("--env=TZ=Asia/Tokyo",)) == "JST"


def test_a_new_home_leads_to_the_tutorials_which_stay_as_they_are(image: str) -> None:
    assert "01-first-gpu-notebook.ipynb" in said(image, "ls", "/home/jovyan/tutorials/")
    assert run(image, "touch", "/home/jovyan/tutorials/mine").returncode != 0
