"""Every setting of a session, once: default, range, unit and help.

The function, the command line and the widget take their fields from :class:`SessionSettings`; the settings of the
style transfer itself are those of :class:`napari_nst.settings.parameters.StyleTransferParameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from napari_nst.errors import ParameterError
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.presets import RECOMMENDED
from napari_nst.settings.specs import Settings, setting

__all__ = ["SessionSettings", "split_settings"]

#: A worker computes with one thread unless asked otherwise: several of them use the cores better than one with many,
#: and the images are then equal to the last bit however many workers there are.
THREADS = 1

_CORRECTION = (
    r"^((zero_((lower|both)_)?|(std|var)_(lower|both)_)(median|border)_(local|global)(_k[0-9.]*[1-9][0-9.e+-]*)?)?$"
)


class SessionSettings(Settings):
    """What is done with the images of a session, checked.

    Raises
    ------
    ParameterError
        For a value that cannot be used; the message names the field, the value and the remedy.
    """

    method: Literal["nst", "histogram", "spectrum", "spectrum+nst", "none"] = setting("nst", "Method", advanced=False)
    """How a poor patch is enhanced. nst: neural style transfer; spectrum: the radial power spectrum of the style, by a
    zero-phase filter; histogram: its gray levels; spectrum+nst: style transfer that starts from the filtered patch;
    none: only cut, assess and pair."""

    treat: Literal["poor", "all"] = setting("poor", "Enhance", advanced=False)
    """poor: patches whose score is not above the threshold; all: every patch for which there is a better one."""

    quality: Literal["auto", "markers", "cones", "ring", "table"] = setting("auto", "Quality", advanced=False)
    """What the image quality of a patch is measured by. markers: cones in marker files; cones: cones that the own detector finds; ring:
    prominence of the ring that a mosaic has in its power spectrum; table: your own numbers; auto: markers where there
    are marker files, else ring. (AIQ is measured and listed, but is a bad measure alone.)"""

    threshold: float | Literal["auto"] = setting("auto", "Threshold", advanced=False)
    """A patch with a score above it is good. auto: Otsu's threshold, if the scores really form two groups."""

    markers: str = setting("", "Marker folder")
    """Folder of marker files (x,y; named like the patch or the image); empty: algorithmMarkers or
    output_cone_detector/algorithmMarkers in the session's folder, if there."""

    markers_base: int = setting(0, "Marker base", ge=0, le=1)
    """The coordinate of the first pixel in marker files: 0 or 1."""

    quality_table: str = setting("", "Quality table")
    """CSV with the columns patch (or image) and score."""

    score: Literal["retina", "documented"] = setting("retina", "Pairing")
    """How the style of a patch is chosen. retina: a good, near patch of similar cone spacing that shows other cones;
    documented: most cones x (1 - distance/1000)."""

    max_distance: Annotated[float, Field(ge=0)] | Literal["auto"] = setting("auto", "Largest distance", unit="px")
    """A style lies at most this far from its target; auto: no limit."""

    spacing_tolerance: float = setting(0.15, "Spacing tolerance", ge=0.0, le=10.0)
    """Largest relative difference of the cone spacings of target and style."""

    correction: str = setting("", "Range correction", pattern=_CORRECTION)
    """Range correction before the enhancement, as method_range_replace_correct, such as std_both_border_global; empty:
    none."""

    size: int = setting(185, "Patch size", unit="px", ge=32, le=100_000)
    """Side of a patch."""

    overlap: int = setting(14, "Overlap", unit="px", ge=0)
    """Least overlap of neighboring patches."""

    border: bool = setting(True, "Leave out border")
    """Leave the black border of registered images out of masks and statistics."""

    modality: str = setting("", "Modality")
    """Only images whose name says this modality, such as Confocal; empty: every image."""

    template: str = setting("", "Name template", pattern=r"^([^{}]*(\{[^{}]+\}[^{}]*)+)?$")
    """How this laboratory names its files, such as {IDnum}_{Eye}_({LocX},{LocY})_{VidNum}_{Modality}_{rest}; empty: the
    documented names and some known ones."""

    orientation: Literal["right-up", "left-up", "right-down", "left-down"] = setting("right-up", "Degrees grow")
    """Where the degrees in the names grow in the images; it decides which images are neighbors."""

    find_overlaps: bool = setting(True, "Find overlaps", was="register")
    """Find where images whose names give no degrees lie to each other, by the cones they share, so that distances are
    known and no style shows the cones of its target. Takes some 0.03 s per pair of images."""

    pixel_size: Annotated[float, Field(ge=1e-6)] | Literal["auto"] = setting(
        "auto", "Pixel size", unit="µm/px", was="scale"
    )
    """Size of a pixel on the retina; auto: from the files, or from the field of view in their names at 291 µm per
    degree."""

    axial_length: Annotated[float, Field(ge=10, le=50)] | Literal["auto"] = setting("auto", "Axial length", unit="mm")
    """Length of the eye, which scales the 291 µm per degree of an eye of 24 mm; auto: 24 mm."""

    coordinates_base: int = setting(0, "Coordinate base", ge=0, le=1)
    """The coordinate of the first pixel in written _coords.csv files."""

    figures: bool = setting(True, "Figures")
    """Draw a comparison and learning curves for every enhanced patch."""

    @classmethod
    def _complete(cls, given: dict[str, Any]) -> dict[str, Any]:
        if str(given.get("quality")).lower() == "aiq":
            raise ParameterError(
                "`quality` cannot be 'aiq': AIQ is measured and listed, but it rises when an image is blurred and hardly predicts "
                "whether cones are found. Use ring, cones, markers or a table of your own."
            )
        return super()._complete(given)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.overlap >= self.size:
            raise ParameterError(
                f"`overlap` must be less than the patch size of {self.size} px, got {self.overlap}. Give less."
            )
        if (self.quality == "table") != bool(self.quality_table):
            raise ParameterError(
                f"`quality`='table' and `quality_table` belong together, got {self.quality!r} and {self.quality_table!r}. Give both, "
                "or neither."
            )
        if self.quality not in ("auto", "markers") and self.markers:
            raise ParameterError(
                f"`markers` is not used with `quality`={self.quality!r}, got {self.markers!r}. Choose `quality`='markers', or leave it "
                "out."
            )
        return self

    @property
    def folder_name(self) -> str:
        """Name of the sub-folder of the results: the correction, if any, and the method."""
        parts = [self.correction, "" if self.method == "none" and self.correction else self.method]
        return "_".join(part for part in parts if part)


def split_settings(given: Mapping[str, Any]) -> tuple[SessionSettings, StyleTransferParameters]:
    """Divide keyword arguments into the settings of the session and those of the style transfer.

    The preset is the recommended one, unless another is given.  ParameterError for a name that neither of them knows.
    """
    own, theirs = SessionSettings.names(), StyleTransferParameters.names()
    unknown = sorted(set(given) - own - theirs)
    if unknown:
        raise ParameterError(
            f"`{unknown[0]}` is not a setting of a session. The settings are {', '.join(sorted(own | theirs))}."
        )
    transfer = {"preset": RECOMMENDED, "threads": THREADS, **{k: v for k, v in given.items() if k in theirs}}
    return SessionSettings(**{k: v for k, v in given.items() if k in own}), StyleTransferParameters(**transfer)
