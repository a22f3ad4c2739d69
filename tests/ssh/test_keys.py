"""Which public keys are taken, and whose they are."""

import subprocess

import pytest

from gpubox.db import open_database
from gpubox.ssh.keys import MOST_KEYS, KeyRefused, Keys, read_key

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFACcKZq8JvzfO4wkW2lvTxz/bn5kKtGjUmDYdHf/NPy"
# The public half of a FIDO key, put together here: without the hardware none can be made.
SK = (
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAXEI8tVAd1Pq9bZP+fV5Jc3pdTSLxWB"
    "vKYfPpZ0X+bFAAAABHNzaDo="
)


@pytest.fixture
def make_key(tmp_path):
    def make(kind, bits=None, comment="zoe@laptop"):
        file = tmp_path / f"{kind}{bits}"
        size = ["-b", str(bits)] if bits else []
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", comment, "-f", str(file)], check=True
        )
        return file

    return make


@pytest.fixture
def keys():
    return Keys(open_database("sqlite://"))


@pytest.mark.parametrize(
    ("kind", "bits", "words"),
    [("ed25519", None, "Ed25519"), ("ecdsa", 384, "ECDSA"), ("rsa", 2048, "RSA 2048")],
)
def test_good_keys_are_known_as_openssh_knows_them(make_key, kind, bits, words):
    file = make_key(kind, bits)
    key = read_key(file.with_suffix(".pub").read_text())
    printed = subprocess.run(["ssh-keygen", "-lf", f"{file}.pub"], capture_output=True, text=True).stdout
    assert key.kind == words and key.comment == "zoe@laptop"
    assert key.fingerprint == printed.split()[1]
    assert file.with_suffix(".pub").read_text().startswith(key.line)


def test_a_security_keys_public_key_is_taken():
    assert read_key(SK).kind == "Ed25519 on a security key"


def test_the_other_form_of_public_keys_is_taken_too(make_key):
    file = make_key("ed25519")
    converted = subprocess.run(["ssh-keygen", "-ef", f"{file}.pub"], capture_output=True, text=True).stdout
    assert converted.startswith("---- BEGIN SSH2")
    assert read_key(converted).line == read_key(file.with_suffix(".pub").read_text()).line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Paste a public key"),
        ("hello", "no public key"),
        (ED25519[:50], "no public key"),
        ("ssh-dss AAAAB3NzaC1kc3MAAAA=", "no public key"),
        (f'from="10.0.0.*" {ED25519}', "Options before a key"),
        (f"{ED25519} one\n{ED25519} two", "several lines"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "certificate"),
        ("x" * 20000, "too long"),
        ("ssh-ed25519 \x00\x1b[2J", "no public key"),
    ],
)
def test_what_is_no_good_key_is_refused_with_the_reason(text, reason):
    with pytest.raises(KeyRefused, match=reason):
        read_key(text)


def test_a_private_key_is_refused_loudly_whatever_its_form(make_key):
    texts = [make_key("ed25519").read_text(), "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none"]
    texts.append(f"{ED25519}\n{texts[0]}")
    for text in texts:
        with pytest.raises(KeyRefused, match="PRIVATE"):
            read_key(text)


def test_weak_keys_are_refused(make_key):
    with pytest.raises(KeyRefused, match="1024 bits is too weak: at least 2048"):
        read_key(make_key("rsa", 1024).with_suffix(".pub").read_text())


def test_a_key_is_one_users_alone(keys):
    mine = keys.add("zoe", "", f"{ED25519} zoe@läptop")
    assert mine.name == "zoe@läptop" and mine.last_used_at is None
    with pytest.raises(KeyRefused, match="here already: zoe@läptop"):
        keys.add("zoe", "again", ED25519)
    with pytest.raises(KeyRefused, match="belongs to somebody else") as refused:
        keys.add("yann", "", ED25519)
    assert "zoe" not in str(refused.value)
    assert keys.find(mine.fingerprint) == mine and keys.of("yann") == []


def test_only_its_owner_deletes_a_key_and_its_number_never_comes_back(keys):
    mine = keys.add("zoe", "laptop", ED25519)
    assert keys.delete("yann", mine.id) is None and keys.remaining([mine.id]) == {mine.id}
    assert keys.delete("zoe", mine.id) == mine and keys.remaining([mine.id]) == set()
    assert keys.find(mine.fingerprint) is None
    assert keys.add("yann", "", ED25519).id != mine.id


def test_use_is_written_down(keys):
    mine = keys.add("zoe", "", ED25519)
    keys.used(mine.id)
    assert keys.of("zoe")[0].last_used_at >= mine.created_at


def test_there_is_an_end_to_how_many_one_has(keys, make_key, monkeypatch):
    monkeypatch.setattr("gpubox.ssh.keys.MOST_KEYS", 1)
    assert MOST_KEYS > 1
    keys.add("zoe", "", ED25519)
    with pytest.raises(KeyRefused, match="delete one first"):
        keys.add("zoe", "", make_key("ed25519").with_suffix(".pub").read_text())
