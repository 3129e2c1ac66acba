"""The documented class over a whole session, on top of the parts that do the work."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.errors import ParameterError
from napari_nst.imaging.range_correction import RangeCorrection, correct_range
from napari_nst.io.images import ImageFile
from napari_nst.methods import enhance_patch
from napari_nst.session.plan import PlannedPatch, SessionPlan
from napari_nst.session.planning import plan_session, read_given_pairs
from napari_nst.session.run import SessionResult, enhance_session, session_statistics
from napari_nst.settings.session import split_settings

if TYPE_CHECKING:
    from napari_nst.session.planning import Pairs

__all__ = ["MDRNNPreProcessor"]

#: The documented names of enhancements, and the methods they are.
_ENHANCEMENTS = {None: "none", "nst": "nst", "match": "histogram"}


class MDRNNPreProcessor:
    """Prepares the images of a session for a cone detector: patches, range correction, enhancement.

    Parameters
    ----------
    folder : path-like
        The session's images.
    output : path-like
        Where `run` writes.
    method : {"zero", "std", "var"}, optional
        The rule of the range correction; None: no correction.
    replace : {"border", "median"}, optional
    range_method : {"lower", "both"}, optional
    enhancement : {"nst", "match", "histogram", "spectrum", "spectrum+nst"}, optional
        "match" is the documented name of histogram matching; None: patches are not enhanced.
    correct : {"local", "global"}, optional
        Statistics of each patch or of all.
    pairs : path-like, DataFrame or mapping, optional
        Patch to style, instead of looking for styles.
    **settings
        As for `napari_nst.enhance_session`; but the preset is "documented", as in the document.

    Raises
    ------
    ParameterError
        A value cannot be used; the four words of the range correction belong together.

    Notes
    -----
    NST pipeline documentation, "Integration and Data Flow". ``str()`` gives the documented name of the folder of results,
    ``method_range_replace_correct_enhancement``. Other than documented, only poor patches are enhanced (``treat="all"``
    enhances all), the range correction is not lost before the enhancement, every modality is taken, and results
    keep the type of the image.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        output: str | os.PathLike[str],
        method: str | None = None,
        replace: str | None = None,
        range_method: str | None = None,
        enhancement: str | None = None,
        correct: str | None = None,
        *,
        pairs: Pairs | None = None,
        **settings: Any,
    ) -> None:
        words = {"method": method, "range_method": range_method, "replace": replace, "correct": correct}
        missing = [name for name, word in words.items() if word is None]
        if 0 < len(missing) < len(words):
            raise ParameterError(
                f"A range correction needs {', '.join(words)}; {', '.join(missing)} is missing. Give all, or none."
            )
        self.folder, self.output, self.pairs = Path(folder), Path(output), pairs
        self.settings, self.parameters = split_settings(
            {
                "preset": "documented",
                **settings,
                "method": _ENHANCEMENTS.get(enhancement, enhancement),
                "correction": "" if missing else "_".join(str(word) for word in words.values()),
            }
        )

    def __str__(self) -> str:
        return self.settings.folder_name

    @functools.cached_property
    def plan(self) -> SessionPlan:
        """The patches, their quality, and their styles; made when first used."""
        return plan_session(self.folder, self.settings, self.parameters, pairs=self.pairs)

    def run(self, **where: Any) -> SessionResult:
        """Do everything, and write it in the documented layout.

        Parameters
        ----------
        **where
            ``workers``, ``scheduler``, ``callback``, ``cancel`` of `napari_nst.enhance_session`.
        """
        return enhance_session(self.folder, self.output, plan=self.plan, **where)

    def crop_images_to_patches(self) -> list[ImageFile]:
        """Cut the images into patches; nothing is written.

        Returns
        -------
        list of ImageFile
            In the order of their numbers, named ``CROP_{number}_x{x}y{y}_{image}.tif``.
        """
        return [ImageFile(entry.patch.name, self.plan.crop(entry.patch).array) for entry in self.plan.patches]

    def apply_preprocessing_to_images(self, patches: Sequence[ImageFile] | None = None) -> list[ImageFile]:
        """Correct the range of patches; nothing is written.

        Parameters
        ----------
        patches : sequence of ImageFile, optional
            Patches of this session; by default all of them.

        Returns
        -------
        list of ImageFile
            In their order and under their names; without a correction the patches themselves.
        """
        given = list(self.crop_images_to_patches() if patches is None else patches)
        if not self.settings.correction:
            return given
        correction = RangeCorrection.parse(self.settings.correction)
        masks = [self.plan.crop(self._entry(file).patch).valid for file in given]
        known = session_statistics(self.plan) if correction.correct == "global" else {}
        return [
            ImageFile(
                file.path, correct_range(file.data, correction, statistics=known.get(file.dtype.name), mask=mask).image
            )
            for file, mask in zip(given, masks, strict=True)
        ]

    def apply_nst_to_patches(
        self, patches: Sequence[ImageFile] | None = None, corr_patch: Mapping[Any, Any] | None = None
    ) -> list[ImageFile]:
        """Enhance the patches that have a style, by the method of this session; nothing is written.

        Parameters
        ----------
        patches : sequence of ImageFile, optional
            Patches of this session, corrected perhaps; by default all of them, corrected.
        corr_patch : mapping, optional
            Patch to style, each an ImageFile or a name; by default the pairs of the plan.

        Returns
        -------
        list of ImageFile
            All patches in their order, the enhanced ones in the place of the poor ones.
        """
        given = list(self.apply_preprocessing_to_images() if patches is None else patches)
        if corr_patch is None:
            styles = {entry.patch.name: entry.style for entry in self.plan.treated}
        else:
            names = [entry.patch.name for entry in self.plan.patches]
            styles = read_given_pairs({_name(k): _name(v) for k, v in corr_patch.items()}, names)
        return [self._enhanced(file, styles.get(self._entry(file).patch.name, "")) for file in given]

    def _enhanced(self, file: ImageFile, style_name: str) -> ImageFile:
        if not style_name or self.settings.method == "none":
            return file
        entry, style = self._entry(file), self.plan[style_name]
        here, there = self.plan.crop(entry.patch), self.plan.crop(style.patch)
        enhanced = enhance_patch(
            self.settings.method,
            file.data,
            there.array,
            target_mask=here.valid,
            style_mask=there.valid,
            value_range=self.plan.image_of(entry.patch).value_range,
            style_value_range=self.plan.image_of(style.patch).value_range,
            parameters=self.parameters.asdict(),
        )
        return ImageFile(file.path, enhanced.image)

    def _entry(self, file: ImageFile) -> PlannedPatch:
        for entry in self.plan.patches:
            if entry.patch.name in (file.name, f"{file.stem}.tif"):
                return entry
        raise ParameterError(f"{file.name} must be a patch of this session. Take those of crop_images_to_patches().")


def _name(patch: Any) -> str:
    return patch.name if isinstance(patch, ImageFile) else str(patch)
