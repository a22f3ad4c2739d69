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
    # The token is a server's own, not its user's.
    is_box: bool = False

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
            is_box=is_user and _is_of_server(scopes, model["name"]),
        )

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


def _is_of_server(scopes: Collection[str], user: str) -> bool:
    """Whether scopes are those of a server's token (`gpubox.config`): access to that server, and not to all
    of its user's. A browser's have neither."""
    access = "access:servers"
    return any(scope.startswith(f"{access}!server=") for scope in scopes) and not (
        access in scopes or f"{access}!user={user}" in scopes
    )
