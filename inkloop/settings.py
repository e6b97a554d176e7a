"""The base of every configuration: frozen, typed, unknown keys refused."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """A frozen configuration whose fields all have working defaults; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
