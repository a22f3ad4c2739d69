"""Who may do what with a template: pure decisions over records."""

from __future__ import annotations

from . import EVERYONE, Actor, Share, Template, Version


def is_shared_with(template: Template, actor: Actor) -> bool:
    """Whether the owner shares it with them, by name, by a group of theirs or with everyone."""
    return any(
        share.kind == EVERYONE
        or (share.kind == "user" and share.name == actor.name)
        or (share.kind == "group" and share.name in actor.groups)
        for share in template.shares
    )


def owns(template: Template, actor: Actor) -> bool:
    """Whether it is theirs."""
    return bool(actor.name) and template.owner == actor.name


def manages(template: Template, actor: Actor) -> bool:
    """Whether they may rename, share and delete it."""
    return owns(template, actor) or actor.is_admin


def startable(template: Template, actor: Actor) -> tuple[Version, ...]:
    """The versions that they may start from."""
    if owns(template, actor):
        return template.versions
    if not is_shared_with(template, actor):
        return ()
    return tuple(version for version in template.versions if version.cleared)


def seen_by(template: Template, actor: Actor) -> dict[str, object] | None:
    """What they are told of it; None where they are told nothing. Secrets' paths and who else has it are the
    managers' to know."""
    manager = manages(template, actor)
    versions = template.versions if manager else startable(template, actor)
    if not versions:
        return None
    told = [version.as_dict() for version in versions]
    if not manager:
        told = [{**version, "secrets": []} for version in told]
    return {
        "reference": template.reference,
        "owner": template.owner,
        "name": template.name,
        "note": template.note,
        "created_at": template.created_at,
        "mine": owns(template, actor),
        "manageable": manager,
        "startable": [version.number for version in startable(template, actor)],
        "versions": told,
        "shares": [_share(share) for share in template.shares] if manager else [],
    }


def _share(share: Share) -> dict[str, str]:
    return {"kind": share.kind, "name": share.name}
