"""What all tables of the ledger share: their metadata, and a column of a moment."""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


def when(name: str) -> "sa.Column[object]":
    """A column of a moment, which is never null."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)
