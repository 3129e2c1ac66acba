"""What a transfer is told beside its parameters: masks, pixel sizes, colors, where the result goes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from napari_nst.errors import ParameterError
from napari_nst.settings.specs import parse_value_range


@dataclass(frozen=True, kw_only=True)
class TransferOptions:
    """The arguments of :func:`napari_nst.transfer_style` that belong to its images; it explains each of them."""

    mask: Any = None
    style_mask: Any = None
    pixel_size: float | tuple[float, float] | None = None
    style_pixel_size: float | tuple[float, float] | None = None
    style_value_range: str | tuple[float, float] | None = None
    rgb: bool | None = None
    style_rgb: bool | None = None
    out: Any = None

    def __post_init__(self) -> None:
        """Refuse what no image can be read with; masks and pixel sizes are checked with the images."""
        if self.style_value_range is not None:
            parse_value_range(self.style_value_range, "style_value_range")
        for name in ("rgb", "style_rgb"):
            if getattr(self, name) not in (None, True, False):
                raise ParameterError(f"`{name}` must be True, False or None, got {getattr(self, name)!r}. Try None.")

    @classmethod
    def split(cls, arguments: dict[str, Any]) -> tuple[TransferOptions, dict[str, Any]]:
        """Return the options among the arguments, and the others, which are parameters."""
        names = {field.name for field in fields(cls)}
        options = cls(**{name: value for name, value in arguments.items() if name in names})
        return options, {name: value for name, value in arguments.items() if name not in names}
