"""Public keys: which are good enough (`read_key`), and whose they are (`Keys`, the table ``ssh_key``).

The pages write them and the gateway reads them, each in its own process. A key belongs to one user: it tells
who somebody is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass

import asyncssh
import sqlalchemy as sa

from .. import db as tables

LONGEST_KEY = 16384
LONGEST_NAME = 100
MOST_KEYS = 100
# As NIST SP 800-57 and OpenSSH's own documentation have it: shorter ones can be broken, or will be.
SHORTEST_RSA_BITS = 2048

_key = tables.ssh_key.c
_GOOD = re.compile(r"(sk-)?(ssh-ed25519|ecdsa-sha2-nistp(256|384|521))(@openssh\.com)?|ssh-rsa")
_PRIVATE = re.compile(r"PRIVATE KEY|PuTTY-User-Key-File|OPENSSH PRIVATE", re.IGNORECASE)


class KeyRefused(ValueError):
    """The key is not taken; the message says why, and what to do."""


@dataclass(frozen=True)
class PublicKey:
    """A key as it was put in: ``kind`` in words, ``line`` as OpenSSH writes it, without its comment."""

    kind: str
    line: str
    fingerprint: str
    comment: str


@dataclass(frozen=True)
class SSHKey:
    """Somebody's key. Times are Unix seconds; ``last_used_at`` is None where it never was."""

    id: int
    user: str
    name: str
    kind: str
    fingerprint: str
    created_at: float
    last_used_at: float | None


def read_key(text: str) -> PublicKey:
    """The one public key in a text that somebody pasted.

    Raises `KeyRefused` with a sentence for anything else.
    """
    text = text.strip()
    if _PRIVATE.search(text):
        raise KeyRefused(
            "This is a PRIVATE key, which nobody but you may ever see! It was not kept here, but treat it as"
            " lost: make a new pair (ssh-keygen -t ed25519) and put in the file that ends in .pub."
        )
    if not text:
        raise KeyRefused("Paste a public key: the one line of the file that ends in .pub.")
    if len(text) > LONGEST_KEY:
        raise KeyRefused(
            "This is too long for a public key: paste the one line of the file that ends in .pub."
        )
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) > 1 and not text.startswith("---- BEGIN SSH2 PUBLIC KEY"):
        raise KeyRefused("These are several lines: put in one key at a time, each as one line.")
    if "-cert-v01@openssh.com" in text:
        raise KeyRefused("This is a certificate: put in the public key itself (the .pub file without -cert).")
    return _accepted(text)


def _accepted(text: str) -> PublicKey:
    try:
        key = asyncssh.import_public_key(text.encode())
    except (asyncssh.KeyImportError, ValueError) as error:
        words = text.split(None, 1)
        if not re.fullmatch(r"[a-z0-9@.-]+|----", words[0]) and re.search(r" (ssh-|ecdsa-|sk-)", text):
            raise KeyRefused(
                'Options before a key ("from=", "command=") are not taken: paste it from "ssh-" on.'
            ) from error
        raise KeyRefused(
            "This is no public key, or a part of it is missing. It looks like:"
            " ssh-ed25519 AAAAC3Nz... you@laptop"
        ) from error
    algorithm = key.get_algorithm()
    if algorithm == "ssh-dss":
        raise KeyRefused("DSA keys are too weak: OpenSSH refuses them, too. Make one: ssh-keygen -t ed25519")
    if not _GOOD.fullmatch(algorithm):
        raise KeyRefused(f"Keys of the kind {algorithm} are not taken. Make one: ssh-keygen -t ed25519")
    kind = _kind(key, algorithm)
    line = key.export_public_key("openssh").decode().strip()
    return PublicKey(
        kind, " ".join(line.split()[:2]), key.get_fingerprint(), (key.get_comment() or "").strip()
    )


def _kind(key: asyncssh.SSHKey, algorithm: str) -> str:
    if algorithm == "ssh-rsa":
        bits: int = getattr(key.pyca_key, "key_size", 0)
        if bits < SHORTEST_RSA_BITS:
            raise KeyRefused(
                f"An RSA key of {bits} bits is too weak: at least {SHORTEST_RSA_BITS} are needed."
                " Make a new one: ssh-keygen -t ed25519"
            )
        return f"RSA {bits}"
    name = "Ed25519" if "ed25519" in algorithm else "ECDSA"
    return f"{name} on a security key" if algorithm.startswith("sk-") else name


class Keys:
    """The table of keys. Each call is one transaction, and blocks."""

    def __init__(self, database: sa.Engine) -> None:
        self._db = database

    def of(self, user: str) -> list[SSHKey]:
        """A user's keys, the oldest first."""
        query = _shown().where(_key.user == user).order_by(_key.id)
        with self._db.connect() as connection:
            return [SSHKey(**row) for row in connection.execute(query).mappings()]

    def add(self, user: str, name: str, text: str) -> SSHKey:
        """Take in a key; its name is by default its comment. Raises `KeyRefused`."""
        key = read_key(text)
        comment = key.comment if key.comment.isprintable() else ""
        row: dict[str, object] = {"user": user, "name": (name or comment or key.kind)[:LONGEST_NAME]}
        row |= {"kind": key.kind, "key": key.line, "fingerprint": key.fingerprint, "created_at": time.time()}
        with self._db.begin() as connection:
            count = sa.select(sa.func.count()).where(_key.user == user)
            if (connection.scalar(count) or 0) >= MOST_KEYS:
                raise KeyRefused(f"{MOST_KEYS} keys are the most that one may have: delete one first.")
            try:
                with connection.begin_nested():
                    number = connection.execute(
                        tables.ssh_key.insert().values(**row).returning(_key.id)
                    ).scalar_one()
            except sa.exc.IntegrityError as error:
                query = sa.select(_key.user, _key.name).where(_key.fingerprint == key.fingerprint)
                known = connection.execute(query).one()
                raise KeyRefused(
                    f"This key is here already: {known.name}."
                    if known.user == user
                    else "This key belongs to somebody else here, and a key tells who one is: make your own."
                ) from error
            found = connection.execute(_shown().where(_key.id == number)).mappings().one()
            return SSHKey(**found)

    def delete(self, user: str, number: int) -> SSHKey | None:
        """Take a user's key away; None where they have none of that number."""
        mine = (_key.id == number) & (_key.user == user)
        with self._db.begin() as connection:
            row = connection.execute(_shown().where(mine)).mappings().one_or_none()
            connection.execute(tables.ssh_key.delete().where(mine))
            return SSHKey(**row) if row else None

    def find(self, fingerprint: str) -> SSHKey | None:
        """Whose key that is."""
        with self._db.connect() as connection:
            row = connection.execute(_shown().where(_key.fingerprint == fingerprint)).mappings().one_or_none()
            return SSHKey(**row) if row else None

    def used(self, number: int) -> None:
        """Somebody logged in with it, now."""
        with self._db.begin() as connection:
            connection.execute(
                tables.ssh_key.update().where(_key.id == number).values(last_used_at=time.time())
            )

    def remaining(self, numbers: Collection[int]) -> set[int]:
        """Those that are still there."""
        with self._db.connect() as connection:
            return set(connection.scalars(sa.select(_key.id).where(_key.id.in_(numbers))))


def _shown() -> sa.Select[tuple[object, ...]]:
    columns = (_key.id, _key.user, _key.name, _key.kind, _key.fingerprint, _key.created_at, _key.last_used_at)
    return sa.select(*columns)
