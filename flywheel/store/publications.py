"""What the pipeline publishes for the pages: one artifact a name, and the ledger says which.

Bytes in, the same bytes out in another process; the one idea is that a reader sees the old or the
new, whole, and never waits.
"""

import hashlib
from typing import TYPE_CHECKING, Generic, TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError

from flywheel.errors import BadArtifact, NotFound
from flywheel.store.ledger import now
from flywheel.store.tables import publications

if TYPE_CHECKING:
    from flywheel.store import Stores

T = TypeVar("T")


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


class Published(Generic[T]):
    """A value that is published under one name, as JSON."""

    def __init__(self, name: str, kind: type[T]):
        self.name = name
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)

    def put(self, stores: "Stores", value: T) -> T:
        """Publish the value in the place of the one before; the value."""
        publish(stores, self.name, self._adapter.dump_json(value))
        return value

    def get(self, stores: "Stores") -> T | None:
        """What was last published; None where nothing was, or by a version that wrote it otherwise.

        Raises as `read_published`.
        """
        content = read_published(stores, self.name)
        if content is None:
            return None
        try:
            return self._adapter.validate_json(content)
        except ValidationError:
            return None

    def before(self, stores: "Stores") -> T | None:
        """The same for who is about to publish anew: None also where it is damaged or gone."""
        try:
            return self.get(stores)
        except (BadArtifact, NotFound):
            return None
