"""The threat model: which perturbations count. Pixels are on [0, 1]. Light: no torch."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from models.config import Config


def parse_fraction(value: object) -> object:
    """Turns text such as "4/255" into a float; anything else passes through unchanged."""
    if isinstance(value, str) and value.count("/") == 1:
        numerator, denominator = value.split("/")
        try:
            return float(numerator) / float(denominator)
        except (ValueError, ZeroDivisionError) as error:
            rule = "eps must be a number or a fraction such as '4/255'"
            raise ValueError(f"{rule}, got {value!r}") from error
    return value


class ThreatModel(Config):
    """An lp ball of radius `eps` around the clean image, cut to the pixel box [0, 1]."""

    norm: Literal["linf", "l2", "l1"]
    eps: Annotated[float, BeforeValidator(parse_fraction), Field(gt=0)]
    """Radius on the [0, 1] pixel scale; "4/255" is accepted."""

    @model_validator(mode="after")
    def _is_on_pixel_scale(self) -> "ThreatModel":
        if self.norm == "linf" and self.eps > 1:
            raise ValueError(
                f"linf eps={self.eps:g} exceeds the pixel range [0, 1]; "
                f"did you mean '{self.eps:g}/255'?"
            )
        return self
