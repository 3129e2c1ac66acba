"""Every setting of a session, once: default, range, unit and help.

The function, the command line and the widget take their fields from :class:`SessionSettings`; the settings of the
style transfer itself are those of :class:`napari_nst.settings.parameters.StyleTransferParameters`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from napari_nst.errors import ParameterError
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.presets import RECOMMENDED
from napari_nst.settings.specs import Described, check_value, setting

__all__ = ["SessionSettings", "split_settings"]

#: A worker computes with one thread unless told otherwise: several of them use the cores better than one with many,
#: and the pictures are then equal to the last bit however many workers there are.
THREADS = 1

# What can be seen of these values without arrays or files; RangeCorrection.parse and NameTemplate read them.
_CORRECTION = re.compile(
    r"(zero_((lower|both)_)?|(std|var)_(lower|both)_)(median|border)_(local|global)(_k(?=\S*[1-9])[0-9.]+(e[+-]?[0-9]+)?)?"
)
_TEMPLATE = re.compile(r"[^{}]*(\{[^{}]+\}[^{}]*)+")


@dataclass(frozen=True, kw_only=True)
class SessionSettings(Described):
    """What is done with the images of a session, checked.

    Raises
    ------
    ParameterError
        For a value that cannot be used; the message names the field, the value and the remedy.
    """

    method: Literal["nst", "histogram", "spectrum", "spectrum+nst", "none"] = setting(
        "nst",
        "Method",
        "How a poor patch is enhanced. nst: neural style transfer; spectrum: the radial power spectrum of the style, by "
        "a zero-phase filter; histogram: its grey levels; spectrum+nst: style transfer that starts from the filtered "
        "patch; none: only cut, judge and pair.",
        advanced=False,
    )
    treat: Literal["poor", "all"] = setting(
        "poor",
        "Treat",
        "poor: patches whose score is not above the threshold; all: every patch for which there is a better one.",
        advanced=False,
    )
    quality: Literal["auto", "markers", "cones", "ring", "table"] = setting(
        "auto",
        "Quality",
        "What a patch is judged by. markers: cones in marker files; cones: cones that the own detector finds; ring: "
        "prominence of the ring that a mosaic has in its power spectrum; table: your own numbers; auto: markers where "
        "there are marker files, else ring. (AIQ is measured and listed, but judges badly alone.)",
        advanced=False,
    )
    threshold: float | str = setting(
        "auto",
        "Threshold",
        "A patch with a score above it is good. auto: Otsu's threshold, if the scores really form two groups.",
        kind="auto_float",
        advanced=False,
    )
    markers: str = setting(
        "",
        "Marker folder",
        "Folder of marker files (x,y; named like the patch or the image); empty: algorithmMarkers or "
        "output_cone_detector/algorithmMarkers in the session's folder, if there.",
    )
    markers_base: int = setting(
        0, "Marker base", "The coordinate of the first pixel in marker files: 0 or 1.", minimum=0, maximum=1
    )
    quality_table: str = setting("", "Quality table", "CSV with the columns patch (or image) and score.")
    score: Literal["retina", "documented"] = setting(
        "retina",
        "Pairing",
        "How the style of a patch is chosen. retina: a good, near patch of similar cone spacing that shows other cones; "
        "documented: most cones x (1 - distance/1000).",
    )
    max_distance: float | str = setting(
        "auto",
        "Largest distance",
        "A style lies at most this far from its target; auto: no limit.",
        unit="px",
        minimum=0.0,
        kind="auto_float",
    )
    spacing_tolerance: float = setting(
        0.15,
        "Spacing tolerance",
        "Largest relative difference of the cone spacings of target and style.",
        minimum=0.0,
        maximum=10.0,
    )
    correction: str = setting(
        "",
        "Range correction",
        "Range correction before the enhancement, as method_range_replace_correct, such as std_both_border_global; "
        "empty: none.",
    )
    size: int = setting(185, "Patch size", "Side of a patch.", unit="px", minimum=32, maximum=100_000)
    overlap: int = setting(14, "Overlap", "Least overlap of neighbouring patches.", unit="px", minimum=0)
    border: bool = setting(
        True, "Leave out border", "Leave the black border of registered images out of masks and statistics."
    )
    modality: str = setting(
        "", "Modality", "Only images whose name says this modality, such as Confocal; empty: every image."
    )
    template: str = setting(
        "",
        "Name template",
        "How this laboratory names its files, such as {IDnum}_{Eye}_({LocX},{LocY})_{VidNum}_{Modality}_{rest}; empty: the "
        "documented names and some known ones.",
    )
    orientation: Literal["right-up", "left-up", "right-down", "left-down"] = setting(
        "right-up",
        "Degrees grow",
        "Where the degrees in the names grow in the images; it decides which images are neighbours.",
    )
    register: bool = setting(
        True,
        "Find overlaps",
        "Find where images whose names give no degrees lie to each other, by the cones they share, so that distances are "
        "known and no style shows the cones of its target. Takes some 0.03 s per pair of images.",
    )
    scale: float | str = setting(
        "auto",
        "Scale",
        "Size of a pixel on the retina; auto: from the files, or from the field of view in their names at 291 µm per degree.",
        unit="µm",
        minimum=1e-6,
        kind="auto_float",
    )
    axial_length: float | str = setting(
        "auto",
        "Axial length",
        "Length of the eye, which scales the 291 µm per degree of an eye of 24 mm; auto: 24 mm.",
        unit="mm",
        minimum=10.0,
        maximum=50.0,
        kind="auto_float",
    )
    coordinates_base: int = setting(
        0, "Coordinate base", "The coordinate of the first pixel in written _coords.csv files.", minimum=0, maximum=1
    )
    figures: bool = setting(True, "Figures", "Draw a comparison and learning curves for every enhanced patch.")

    def __post_init__(self) -> None:
        """Check every field and bring it to its plain Python type."""
        if str(self.quality).lower() == "aiq":
            raise ParameterError(
                "quality: AIQ is measured and listed, but it rises when a picture is blurred and hardly predicts whether "
                "cones are found; judge by ring, cones, markers or a table of your own."
            )
        for spec in self.specs():
            object.__setattr__(self, spec.name, check_value(spec, getattr(self, spec.name)))
        if self.overlap >= self.size:
            raise ParameterError(f"overlap: {self.overlap} px leave nothing of patches of {self.size} px; give less.")
        if (self.quality == "table") != bool(self.quality_table):
            raise ParameterError(
                "quality: 'table' and quality_table belong together; give both, or neither "
                f"(quality={self.quality!r}, quality_table={self.quality_table!r})."
            )
        if self.quality not in ("auto", "markers") and self.markers:
            raise ParameterError(
                f"markers: {self.markers!r} is not used with quality={self.quality!r}; choose quality='markers', or leave "
                "it out."
            )
        if self.correction and not _CORRECTION.fullmatch(self.correction):
            raise ParameterError(
                f"correction: {self.correction!r} is not the name of a range correction; give method_range_replace_correct, such "
                "as 'std_both_border_global', or leave it out."
            )
        if self.template and not _TEMPLATE.fullmatch(self.template):
            raise ParameterError(
                f"template: {self.template!r} must hold fields in pairs of braces, such as '{{IDnum}}_{{Eye}}_{{rest}}'."
            )

    @property
    def folder_name(self) -> str:
        """Name of the sub-folder of the results: the correction, if any, and the method."""
        parts = [self.correction, "" if self.method == "none" and self.correction else self.method]
        return "_".join(part for part in parts if part)


def split_settings(given: Mapping[str, Any]) -> tuple[SessionSettings, StyleTransferParameters]:
    """Divide keyword arguments into the settings of the session and those of the style transfer.

    The preset is the recommended one, unless another is given.

    Raises
    ------
    ParameterError
        For a name that neither of them knows, or a value that cannot be used.
    """
    own = {spec.name for spec in SessionSettings.specs()}
    theirs = {spec.name for spec in StyleTransferParameters.specs()}
    unknown = sorted(set(given) - own - theirs)
    if unknown:
        raise ParameterError(
            f"{unknown[0]!r} is not a setting of a session; the settings are {', '.join(sorted(own | theirs))}."
        )
    transfer: dict[str, Any] = {
        "preset": RECOMMENDED,
        "threads": THREADS,
        **{k: v for k, v in given.items() if k in theirs},
    }
    return SessionSettings(**{k: v for k, v in given.items() if k in own}), StyleTransferParameters(**transfer)
