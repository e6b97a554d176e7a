"""The base of every configuration: frozen, typed, unknown keys refused."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from inkloop.errors import UserError

Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]


def matching(pattern: str, wanted: str) -> AfterValidator:
    """For texts that match a pattern as a whole. wanted: what to write, told with the ValueError that others raise."""

    def checked(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not {wanted}")
        return value

    return AfterValidator(checked)


class Settings(BaseModel):
    """A frozen configuration whose fields all have working defaults; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yes_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401
        # YAML reads `yes` and `on` as true, and pydantic takes true for 1.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("yes and no have no meaning here")
        return value

    @classmethod
    def from_environment(cls, prefix: str, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings that variables such as PREFIX_BATCH_SIZE give; the rest are as in code.

        Raises UserError naming the variable if one is unknown or out of range.
        """
        given = {
            name.removeprefix(prefix).lower(): value for name, value in environment.items() if name.startswith(prefix)
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            name = f"{prefix}{str(first['loc'][0]).upper()}"
            if first["type"] == "extra_forbidden":
                known = ", ".join(f"{prefix}{field.upper()}" for field in cls.model_fields)
                raise UserError(f"{name}: not a setting. Those known are {known}.") from None
            raise UserError(f"{name}={first['input']}: {first['msg'].removeprefix('Value error, ')}.") from None
