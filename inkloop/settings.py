"""The base of every configuration: frozen, typed, unknown keys refused."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen configuration whose fields all have working defaults; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
