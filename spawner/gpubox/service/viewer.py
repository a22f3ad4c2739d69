"""Who looks: what somebody may see and do, by the scopes of their token."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .settings import HUB_ADMIN, MANAGE, TEMPLATES

_OF_GROUP = f"{MANAGE}!group="
METRICS = "read:metrics"


@dataclass(frozen=True)
class Audience:
    """All who may see the same: those who manage everything, the same groups, or nothing."""

    manages_all: bool = False
    groups: frozenset[str] = frozenset()

    def manages(self, groups: Collection[str]) -> bool:
        """Whether a lease whose user was in ``groups`` is theirs to manage."""
        return self.manages_all or not self.groups.isdisjoint(groups)


@dataclass(frozen=True)
class Viewer:
    """Somebody with a valid token. ``name`` and ``groups`` are a user's; services have none."""

    name: str
    audience: Audience
    may_scrape: bool = False
    may_save: bool = False
    groups: frozenset[str] = frozenset()
    # The name of the server whose own token it is; None where it is no server's.
    box: str | None = None

    @classmethod
    def from_model(cls, model: Mapping[str, Any]) -> Viewer:
        """The viewer whom JupyterHub's model of a token (GET /hub/api/user) tells."""
        scopes = set(model.get("scopes", ()))
        is_admin = MANAGE in scopes or HUB_ADMIN in scopes
        groups = frozenset(one.removeprefix(_OF_GROUP) for one in scopes if one.startswith(_OF_GROUP))
        is_user = model.get("kind") == "user"
        return cls(
            name=model["name"] if is_user else "",
            audience=Audience(is_admin, frozenset() if is_admin else groups),
            may_scrape=is_admin or METRICS in scopes,
            may_save=is_user and TEMPLATES in scopes,
            groups=frozenset(model.get("groups") or ()) if is_user else frozenset(),
            box=_box(scopes, model["name"]) if is_user else None,
        )

    @property
    def is_box(self) -> bool:
        """Whether a machine asks with its own token, and not its user."""
        return self.box is not None

    @property
    def is_admin(self) -> bool:
        """Whether they manage everything."""
        return self.audience.manages_all

    def owns(self, lease: Mapping[str, Any]) -> bool:
        """Whether the lease or ticket is their own."""
        return bool(self.name) and lease["user"] == self.name

    def may_end(self, lease: Mapping[str, Any]) -> bool:
        """Whether they may end the lease, take the ticket out of the line, or extend it."""
        return self.owns(lease) or self.audience.manages(lease["groups"])


def _box(scopes: Collection[str], user: str) -> str | None:
    """The server whose token has these scopes (`gpubox.config`): access to it, and not to all of its user's.
    A browser's have neither."""
    access = "access:servers"
    if access in scopes or f"{access}!user={user}" in scopes:
        return None
    of_server = f"{access}!server={user}/"
    names = [scope.removeprefix(of_server) for scope in scopes if scope.startswith(of_server)]
    return names[0] if names else None
