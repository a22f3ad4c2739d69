"""The records of templates in the hub's database. Every method is one transaction, and blocks."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import sqlalchemy as sa

from .. import db
from ..refusal import PoolRefusal
from . import NoSuchTemplate, Share, Template, Version

_template = db.template.c
_version = db.template_version.c
_share = db.template_share.c


class TemplateStore:
    """All templates, their versions and shares."""

    def __init__(self, database: sa.Engine) -> None:
        self._db = database

    def all(self) -> list[Template]:
        """All templates by owner and name."""
        with self._db.connect() as connection:
            return self._read(connection, sa.true())

    def find(self, owner: str, name: str) -> Template:
        """The template of that owner and name. Raises `NoSuchTemplate`."""
        with self._db.connect() as connection:
            found = self._read(connection, (_template.owner == owner) & (_template.name == name))
        if not found:
            raise NoSuchTemplate(f"There is no template {owner}/{name}.")
        return found[0]

    def _read(self, connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Template]:
        wanted = sa.select(_template.id).where(which)
        versions: dict[int, list[Version]] = defaultdict(list)
        query = db.template_version.select().where(_version.template_id.in_(wanted)).order_by(_version.number)
        for row in connection.execute(query).mappings():
            versions[row["template_id"]].append(Version(**{**row, "secrets": tuple(row["secrets"])}))
        shares: dict[int, list[Share]] = defaultdict(list)
        for row in connection.execute(
            db.template_share.select().where(_share.template_id.in_(wanted))
        ).mappings():
            shares[row["template_id"]].append(Share(row["kind"], row["name"]))
        query = db.template.select().where(which).order_by(_template.owner, _template.name)
        return [
            Template(
                **row,
                versions=tuple(versions[row["id"]]),
                shares=tuple(sorted(shares[row["id"]], key=lambda share: (share.kind, share.name))),
            )
            for row in connection.execute(query).mappings()
        ]

    def add_version(self, owner: str, name: str, note: str, now: float, **columns: Any) -> Version:
        """Record a save: the first version of a new template, or the next of one that is there.

        An empty ``note`` leaves that of before.
        """
        with self._db.begin() as connection:
            query = sa.select(_template.id).where(_template.owner == owner, _template.name == name)
            template_id = connection.scalar(query)
            if template_id is None:
                made = db.template.insert().values(owner=owner, name=name, note=note, created_at=now)
                template_id = connection.execute(made.returning(_template.id)).scalar_one()
            elif note:
                connection.execute(db.template.update().where(_template.id == template_id).values(note=note))
            newest = connection.scalar(
                sa.select(sa.func.max(_version.number)).where(_version.template_id == template_id)
            )
            row = {"template_id": template_id, "number": (newest or 0) + 1, "saved_at": now, **columns}
            connection.execute(db.template_version.insert().values(**row))
        return Version(**{**row, "secrets": tuple(row["secrets"])})

    def describe(self, template_id: int, name: str, note: str) -> None:
        """Change name and note. Raises `PoolRefusal` where the owner has another one of that name."""
        change = db.template.update().where(_template.id == template_id).values(name=name, note=note)
        try:
            with self._db.begin() as connection:
                connection.execute(change)
        except sa.exc.IntegrityError as error:
            raise PoolRefusal(f"There is a template {name} already.", "name") from error

    def share(self, template_id: int, share: Share, *, clear: bool) -> None:
        """Share with somebody, also twice; ``clear`` shows others the versions with secrets, too."""
        key = (_share.template_id == template_id) & (_share.kind == share.kind) & (_share.name == share.name)
        with self._db.begin() as connection:
            if connection.scalar(sa.select(sa.func.count()).where(key)) == 0:
                row = {"template_id": template_id, "kind": share.kind, "name": share.name}
                connection.execute(db.template_share.insert().values(**row))
            if clear:
                connection.execute(_cleared(template_id))

    def clear(self, template_id: int) -> None:
        """Show the versions with secrets to those with whom it is shared."""
        with self._db.begin() as connection:
            connection.execute(_cleared(template_id))

    def unshare(self, template_id: int, share: Share) -> None:
        """Share no more with somebody."""
        with self._db.begin() as connection:
            connection.execute(
                db.template_share.delete().where(
                    _share.template_id == template_id, _share.kind == share.kind, _share.name == share.name
                )
            )

    def remove_version(self, template_id: int, number: int) -> None:
        """Forget a version; with the last one the template."""
        with self._db.begin() as connection:
            of_template = _version.template_id == template_id
            connection.execute(db.template_version.delete().where(of_template, _version.number == number))
            if connection.scalar(sa.select(sa.func.count()).where(of_template)) == 0:
                connection.execute(db.template_share.delete().where(_share.template_id == template_id))
                connection.execute(db.template.delete().where(_template.id == template_id))


def _cleared(template_id: int) -> sa.Update:
    return db.template_version.update().where(_version.template_id == template_id).values(cleared=True)
