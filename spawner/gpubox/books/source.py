"""Opening the ledger to read it."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from .problem import BooksProblem


def open_books(url: str) -> sa.Engine:
    """The database of leases at an SQLAlchemy URL, to read. Raises `BooksProblem` where there is none."""
    try:
        engine = sa.create_engine(url)
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
            raise BooksProblem(
                f"There are no leases yet: {engine.url.database} is made by the first start of a hub."
            )
        with engine.connect() as connection:
            inspector = sa.inspect(connection)
            if not inspector.has_table("lease"):
                raise BooksProblem(f"There are no leases yet in {engine.url.render_as_string()}.")
            if not inspector.has_table("gpu_use"):
                raise BooksProblem(
                    "The database of leases is an older version's: the next start of the hub brings it up"
                    " to date."
                )
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")
        raise BooksProblem(f"The database of leases cannot be read: {reason}.") from error
    return engine
