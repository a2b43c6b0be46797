"""Rubrics that people decided by, kept by their versions for as long as the decisions."""

import sqlalchemy as sa

from flywheel.errors import NotFound
from flywheel.judge.rubric import Rubric
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import rubrics


def keep_rubric(ledger: Ledger, rubric: Rubric) -> None:
    """Keep the text of a rubric, once; call it before anybody decides by it."""
    same = sa.select(rubrics.c.version).where(rubrics.c.version == rubric.version)
    with ledger.read() as connection:
        if connection.scalar(same) is not None:
            return
    row = {"version": rubric.version, "text": rubric.text, "since": now()}
    try:
        with ledger.begin() as connection:
            connection.execute(rubrics.insert().values(row))
    except sa.exc.IntegrityError:
        # Another process kept it at the same moment.
        return


def rubric_of(ledger: Ledger, version: str) -> Rubric:
    """The rubric of this version; raises NotFound where none was kept, as for a file's rows."""
    with ledger.read() as connection:
        text = connection.scalar(sa.select(rubrics.c.text).where(rubrics.c.version == version))
    if text is None:
        raise NotFound("rubric", version)
    return Rubric(version, text)
