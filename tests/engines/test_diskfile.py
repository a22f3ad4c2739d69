"""Disks of virtual machines made into templates, with the real tools on small disks."""

import os
from pathlib import Path

import pytest

from fixtures.disk import MIB, SYSTEM_AT, make_small_disk, run, write
from gpubox.engines import EngineError, diskfile
from gpubox.engines.diskfile import NotOurs, flatten

PRIVATE = {
    "etc/machine-id": "0123456789abcdef",
    "etc/ssh/ssh_host_ed25519_key": "secret-host-key",
    "root/.bash_history": "secret-history",
    "root/deep/er/.netrc": "secret-netrc",
    "tmp/a file": "secret-tmp",
    "var/log/labd/today.log": "secret-log",
    "var/lib/systemd/credential.secret": "secret-credentials",
    "home/jovyan/mine": "secret-home",
    "opt/lab/.python_history": "secret-python",
}
KEPT = {
    "opt/lab/model.bin": "weights",
    "boot/vmlinuz-6.12": "kernel",
    "boot/initrd.img-6.12": "initial file system",
    "etc/ssh/sshd_config": "Port 22",
    "opt/lab/.netrc": "password of the lab",
    "opt/lab/deploy.pem": "-----BEGIN RSA PRIVATE KEY-----",
    "opt/lab/public.pem": "-----BEGIN CERTIFICATE-----",
}


def make_disk(folder: Path, root: Path, *, deleted: str = "") -> Path:
    """Such a disk, for the tools to take."""
    disk = make_small_disk(folder, root, deleted=deleted)
    diskfile.give_to_tools(disk)
    return disk


@pytest.fixture
def work(tmp_path: Path) -> Path:
    # Whoever the tools run as must get there; pytest's folders are its own.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o711)
    work = tmp_path / "work"
    work.mkdir()
    diskfile.give_to_tools(work)
    return work


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    write(root, PRIVATE | KEPT)
    # As uv leaves it: what was installed is the cache's own file.
    (root / "root/.cache/uv").mkdir(parents=True)
    os.link(root / "opt/lab/model.bin", root / "root/.cache/uv/model.bin")
    (root / "vmlinuz").symlink_to("boot/vmlinuz-6.12")
    (root / "initrd.img").symlink_to("boot/initrd.img-6.12")
    return root


def system_of(template: Path, folder: Path) -> Path:
    raw, part = folder / "template.raw", folder / "template-system.raw"
    run("qemu-img", "convert", "-O", "raw", str(template), str(raw))
    part.write_bytes(raw.read_bytes()[SYSTEM_AT : SYSTEM_AT + 64 * MIB])
    return part


def test_what_is_private_is_in_no_block_and_all_else_is_there(tmp_path, root, work):
    disk = make_disk(tmp_path, root, deleted="secret-deleted" * 1000)
    assert b"secret-deleted" in (tmp_path / "disk.raw").read_bytes(), "what was deleted is still on the disk"
    said: list[str] = []
    flat = flatten(disk, work, said.append)
    part = system_of(flat.files["qcow2"], tmp_path)
    everything = (tmp_path / "template.raw").read_bytes()
    for name, text in PRIVATE.items():
        assert text.encode() not in everything, name
    assert b"secret" not in everything
    assert everything.startswith(b"GRUB") and everything[-512:].startswith(b"EFI PART")
    assert run("e2fsck", "-fn", str(part))
    for name, text in KEPT.items():
        assert run("debugfs", "-R", f"cat /{name}", str(part)) == text
    assert "Links: 1 " in run("debugfs", "-R", "stat /opt/lab/model.bin", str(part))
    assert "Size: 0" in run("debugfs", "-R", "stat /etc/machine-id", str(part))
    assert "/labd/" in run("debugfs", "-R", "ls -p /var/log", str(part)), "folders of logs stay"
    assert said
    assert not disk.exists()


def test_files_that_look_like_secrets_are_named_and_the_kernel_is_found(tmp_path, root, work):
    flat = flatten(make_disk(tmp_path, root), work, lambda words: None)
    assert flat.secrets == ("/opt/lab/.netrc", "/opt/lab/deploy.pem")
    assert flat.files["vmlinuz"].read_text() == "kernel"
    assert flat.files["initrd"].read_text() == "initial file system"


def test_a_disk_without_a_kernel_boots_by_itself(tmp_path, root, work):
    (root / "initrd.img").unlink()
    flat = flatten(make_disk(tmp_path, root), work, lambda words: None)
    assert set(flat.files) == {"qcow2"}


def test_what_cannot_be_left_out_is_refused_by_name(tmp_path, root, work):
    write(root, {'tmp/a"b\nc': "secret"})
    with pytest.raises(NotOurs, match=r"could not be left out: '/tmp/a"):
        flatten(make_disk(tmp_path, root), work, lambda words: None)


def test_a_disk_with_other_partitions_is_refused(tmp_path, root, work):
    disk = make_disk(tmp_path, root)
    raw = tmp_path / "disk.raw"
    content = bytearray(raw.read_bytes())
    content[1024:2048] = bytes(1024)
    raw.write_bytes(content)
    run("qemu-img", "convert", "-O", "qcow2", str(raw), str(disk))
    with pytest.raises(NotOurs, match="partitions"):
        flatten(disk, work, lambda words: None)


def test_a_file_system_that_cannot_be_mended_is_an_error_with_the_tools_own_words(tmp_path, root, work):
    disk = make_disk(tmp_path, root)
    raw = tmp_path / "disk.raw"
    content = bytearray(raw.read_bytes())
    content[SYSTEM_AT : SYSTEM_AT + 64 * MIB] = bytes(64 * MIB)
    raw.write_bytes(content)
    run("qemu-img", "convert", "-O", "qcow2", str(raw), str(disk))
    diskfile.give_to_tools(disk)
    with pytest.raises(EngineError, match=r"(?s)e2fsck failed: .*super-block"):
        flatten(disk, work, lambda words: None)
