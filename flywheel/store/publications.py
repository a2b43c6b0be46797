"""What the pipeline publishes for the pages: one artifact a name, and the ledger says which.

Bytes in, the same bytes out in another process; the one idea is that a reader sees the old or the
new, whole, and never waits.
"""

import hashlib
from typing import TYPE_CHECKING

import sqlalchemy as sa

from flywheel.errors import BadArtifact, NotFound
from flywheel.store.ledger import now
from flywheel.store.tables import publications

if TYPE_CHECKING:
    from flywheel.store import Stores


def publish(stores: "Stores", name: str, content: bytes, suffix: str = ".json") -> str:
    """Put `content` in force under this name, and remove what was before; the artifact's name."""
    with stores.artifacts.new_file(name, suffix) as file:
        file.path.write_bytes(content)
    this = publications.c.name == name
    with stores.ledger.begin() as ledger:
        before = ledger.scalar(sa.select(publications.c.artifact).where(this))
        ledger.execute(publications.delete().where(this))
        ledger.execute(
            publications.insert().values(name=name, artifact=file.name, published_at=now())
        )
    if before is not None and before != file.name:
        stores.artifacts.remove(name, before)
    return file.name


def published(stores: "Stores", name: str) -> str | None:
    """The artifact in force under this name; None where nothing was published yet."""
    with stores.ledger.read() as ledger:
        artifact = ledger.scalar(
            sa.select(publications.c.artifact).where(publications.c.name == name)
        )
    return None if artifact is None else str(artifact)


def read_published(stores: "Stores", name: str) -> bytes | None:
    """What is in force under this name; None where nothing was published yet.

    Raises NotFound where the artifact is gone, and BadArtifact where it is damaged.
    """
    artifact = published(stores, name)
    while artifact is not None:
        try:
            path = stores.artifacts.path(name, artifact)
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != path.stem:
                raise BadArtifact(f"{path} is damaged; what made it makes it again when it runs")
            return content
        except (NotFound, FileNotFoundError):
            # Replaced between the two looks.
            newer = published(stores, name)
            if newer == artifact:
                raise NotFound(f"{name} artifact", artifact) from None
            artifact = newer
    return None
