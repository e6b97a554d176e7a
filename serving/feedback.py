"""A correction: what someone says that a prediction should have been."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class Feedback(BaseModel):
    """The body of `/feedback`; unknown keys and numbers in quotes are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prediction_id: UUID
    label: Annotated[int, Field(strict=True, ge=0, le=9)]
