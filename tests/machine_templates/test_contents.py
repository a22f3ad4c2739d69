"""What stays out of a template, and what looks like a secret."""

import pytest

from gpubox.machine_templates.contents import holds_private_key, is_private, left_out, outermost, suspects


@pytest.mark.parametrize(
    "path",
    [
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_rsa_key.pub",
        "/etc/machine-id",
        "/srv/work/.bash_history",
        "/home/ben/.python_history",
        "/home/ben/.cache/pip/wheels/x.whl",
        "/tmp/x",
        "/var/cache/apt/archives/cowsay.deb",
    ],
)
def test_what_names_a_machine_or_a_person_stays_out(path):
    assert left_out(path)


@pytest.mark.parametrize(
    "path", ["/etc/ssh/sshd_config", "/tmp", "/opt/cache/x", "/srv/history", "/usr/lib/bash_history.py"]
)
def test_what_was_installed_stays_in(path):
    assert not left_out(path)


def test_secrets_are_found_by_name_and_packages_are_no_false_alarm():
    secrets = [
        "/opt/app/.env",
        "/srv/.netrc",
        "/srv/.aws/credentials",
        "/srv/.docker/config.json",
        "/opt/id_ed25519",
        "/opt/hf/huggingface/token",
        "/opt/app/api_key.txt",
    ]
    harmless = [
        "/opt/id_ed25519.pub",
        "/usr/lib/python3/dist-packages/foo/token",
        "/opt/ml/lib/python3.13/site-packages/tok/secrets.json",
        "/etc/ssl/certs/ca.pem",
        "/opt/model/tokenizer.json",
        "/etc/ssh/ssh_host_rsa_key",
    ]
    named, keys = suspects([*secrets, *harmless, "/opt/deploy.pem", "/opt/site.key"])
    assert sorted(named) == sorted(secrets)
    assert keys == ["/opt/deploy.pem", "/opt/site.key"]


def test_a_pem_file_is_a_secret_where_a_private_key_is_in_it():
    assert holds_private_key(b"# mine\n-----BEGIN RSA PRIVATE KEY-----\nMII")
    assert not holds_private_key(b"-----BEGIN CERTIFICATE-----\nMII")


def test_the_outermost_of_paths_stand_for_all_below_them():
    assert outermost(["/a/b", "/a", "/ab", "/a/b/c", "/c/d"]) == ["/a", "/ab", "/c/d"]


@pytest.mark.parametrize(
    ("path", "is_folder"),
    [
        ("/root/.netrc", False),
        ("/root/deep", True),
        ("/home/jovyan/mine", False),
        ("/var/log/nginx/access.log", False),
        ("/etc/machine-id", False),
        ("/etc/ssh/ssh_host_rsa_key", False),
        ("/var/lib/systemd/credential.secret", False),
        ("/var/lib/systemd/coredump/core.python.1000", False),
    ],
)
def test_of_a_virtual_machines_disk_what_is_one_persons_or_one_machines_stays_out(path, is_folder):
    assert is_private(path, is_folder=is_folder)


@pytest.mark.parametrize(
    ("path", "is_folder"),
    [("/var/log/nginx", True), ("/root", True), ("/home/jovyan", True), ("/rooted/x", False)],
)
def test_all_else_of_its_disk_is_kept(path, is_folder):
    assert not is_private(path, is_folder=is_folder)
