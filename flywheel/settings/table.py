"""What every table of settings is: closed to unknown names, and never changed once read."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """One table of `flywheel.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
