"""What a session will do, as a table for people and as a record for a run that goes on later."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, PrivateAttr, model_validator

from napari_nst.errors import FileError, ParameterError
from napari_nst.io.filenames import AosloName
from napari_nst.io.records import Number, Record, RecordPart, check_record, plain
from napari_nst.session.cropping import Patch, PatchImage, cut_patch
from napari_nst.session.images import LoadedImage, SessionImage, load_image
from napari_nst.session.pairing import PatchFacts
from napari_nst.session.quality import PatchMeasures, Quality, Split
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.session import SessionSettings

if TYPE_CHECKING:
    import pandas as pd

_KEPT_IN_MEMORY = 4  # images


class PlannedPatch(RecordPart):
    """A patch, what was measured in it, and what is to become of it."""

    patch: Patch
    measures: Annotated[PatchMeasures, PlainSerializer(PatchMeasures._asdict)]
    score: Number  # its quality; NaN where unknown
    good: bool | None  # whether the score is above the threshold; None where unknown
    treat: bool = False  # whether it is enhanced
    style: str = ""  # name of the patch whose texture it gets; "" for none
    distance: Number = math.nan  # from the style, pixels on the retina; NaN where unknown
    pair_score: Number = math.nan  # what the pairing was chosen by; NaN where there is none
    reason: str = ""  # why, in words

    @property
    def quality(self) -> Quality:
        """Good, poor or unknown."""
        return Quality.of(self.good)


def _from_record(model: type[SessionSettings] | type[StyleTransferParameters]) -> BeforeValidator:
    """Take the settings of a record, former names included, for those of a model."""

    def read(given: Any) -> SessionSettings | StyleTransferParameters:
        if isinstance(given, model):
            return given
        if not isinstance(given, Mapping):
            raise ValueError("must be a dictionary")
        try:
            return model.from_record(given)
        except ParameterError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(read)


class SessionPlan(Record):
    """What a session will do.  `table` shows it; `crop` gives the pixels of a patch.

    Attributes
    ----------
    folder : Path
        Where the images lie. Not written to files, because it may move.
    settings : SessionSettings
    parameters : StyleTransferParameters
    images : list of SessionImage
    patches : list of PlannedPatch
        In the order of their numbers.
    split : Split
        The threshold between poor and good, and why it is there or not.
    score_kind : str
        What `PlannedPatch.score` is: "markers", "cones", "ring" or "table".
    left_out : list of dict
        ``image`` and ``reason`` of images that are not wanted.
    unreadable : list of dict
        ``image`` and ``reason`` of images that could not be used.
    notes : list of str
        What a user should know.
    inputs : dict
        SHA-256 of every file that the plan was made from, images, markers and tables.
    pairs_given : bool
        Whether the pairing was given and not found.
    placing_notes : list of str
        Those of `notes` that are about overlaps of images; they stay when a plan is changed.
    """

    model_config = ConfigDict(frozen=True)
    described: ClassVar[str] = "the record of a session"
    remedy: ClassVar[str] = "Choose another output folder; what lies in this one stays as it is."

    folder: Path = Field(exclude=True)
    settings: Annotated[SessionSettings, _from_record(SessionSettings)]
    parameters: Annotated[StyleTransferParameters, _from_record(StyleTransferParameters)]
    images: list[SessionImage]
    patches: list[PlannedPatch]
    split: Split
    score_kind: str
    left_out: list[dict[str, str]]
    unreadable: list[dict[str, str]]
    notes: list[str]
    inputs: dict[str, str]
    pairs_given: bool
    placing_notes: list[str] = Field(default_factory=list)
    _loaded: dict[str, LoadedImage] = PrivateAttr(default_factory=dict)
    _recorded: str = PrivateAttr("")

    @model_validator(mode="after")
    def _names_what_is_there(self) -> Self:
        images = {image.name for image in self.images}
        names = [planned.patch.name for planned in self.patches]
        if len(set(names)) < len(names):
            raise ValueError("has two patches of one name")
        known = {"", *names}
        for planned in self.patches:
            if planned.patch.image not in images:
                raise ValueError(f"has no image {planned.patch.image!r}, of which {planned.patch.name!r} is a patch")
            if planned.style not in known:
                raise ValueError(f"has no patch {planned.style!r}, which is the style of {planned.patch.name!r}")
        return self

    def __getitem__(self, name: str) -> PlannedPatch:
        return next(planned for planned in self.patches if planned.patch.name == name)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, which reads its images anew."""
        made = self.model_copy(update=changes)
        made._loaded, made._recorded = {}, ""
        return made

    def image_of(self, patch: Patch) -> SessionImage:
        """Return the image that a patch was cut from."""
        return next(image for image in self.images if image.name == patch.image)

    def load(self, name: str) -> LoadedImage:
        """Return the pixels of an image; the last few are kept. FileError where it has changed since then."""
        if name not in self._loaded:
            loaded = load_image(self.folder / name, self.settings, self.parameters.value_range)
            if loaded.image.sha256 != self.inputs.get(name, loaded.image.sha256):
                raise FileError(f"{name} has changed since the plan was made; start again with another output folder.")
            self._loaded[name] = loaded
            while len(self._loaded) > _KEPT_IN_MEMORY:
                del self._loaded[next(iter(self._loaded))]
        return self._loaded[name]

    def crop(self, patch: Patch) -> PatchImage:
        """Return the pixels of one patch."""
        loaded = self.load(patch.image)
        if loaded.image.cropped:
            return PatchImage(patch, loaded.array.copy(), loaded.valid.copy())
        return cut_patch(loaded.array, patch, valid=loaded.valid)

    @property
    def treated(self) -> list[PlannedPatch]:
        """The patches that will be enhanced."""
        return [planned for planned in self.patches if planned.treat]

    @property
    def table(self) -> pd.DataFrame:
        """A row per patch: where it lies, what was measured, and its pair."""
        import pandas as pd

        return pd.DataFrame([plan_row(planned) for planned in self.patches])

    def facts(self) -> list[PatchFacts]:
        """Return what the pairing looks at, for every patch."""
        images = {image.name: image for image in self.images}
        return [self._facts_of(planned, images[planned.patch.image]) for planned in self.patches]

    def _facts_of(self, planned: PlannedPatch, image: SessionImage) -> PatchFacts:
        patch, (rows, columns) = planned.patch, planned.patch.window
        return PatchFacts(
            patch=patch.name,
            image=AosloName.parse(image.name).full_image.text if image.cropped else image.name,
            x=patch.x,
            y=patch.y,
            height=rows.stop - rows.start,
            width=columns.stop - columns.start,
            image_shape=None if image.cropped else image.shape,
            retina=image.retina,
            modality=image.modality,
            place=image.place,
            score=planned.score,
            good=planned.good,
            spacing=planned.measures.spacing,
            cones=planned.score if self.score_kind == "markers" else planned.measures.cones,
            valid_fraction=planned.measures.valid_fraction,
            frame=image.frame,
        )

    @property
    def fingerprint(self) -> str:
        """What tells one session from another: settings, pairing and the content of every file that it starts from.

        A plan from a record keeps that of its record: settings may have other names, or be more, than when it was made.
        """
        if self._recorded:
            return self._recorded
        pairs = {planned.patch.name: planned.style for planned in self.treated} if self.pairs_given else None
        asked = [self.settings.asdict(), self.parameters.asdict(), self.inputs, pairs]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return all fields but the folder as JSON can hold them."""
        return dict(plain(self))

    @classmethod
    def from_dict(cls, record: Any, folder: Path, source: str | os.PathLike[str], fingerprint: str = "") -> SessionPlan:
        """Return the plan as it was made, from what `to_dict` gave, so that a session that goes on is the same session.

        Raises FileError where an entry is damaged; the message names it, and `source`, the file that it comes from.
        """
        given = {**record, "folder": folder} if isinstance(record, Mapping) else record
        plan = check_record(given, cls, os.fspath(source), FileError)
        plan._recorded = fingerprint
        return plan


def plan_row(planned: PlannedPatch) -> dict[str, Any]:
    """Return what the tables say of a patch before anything is done."""
    patch, measures = planned.patch, planned.measures
    return {
        "patch": patch.name,
        "image": patch.image,
        "crop_id": patch.crop_id,
        "x": patch.x,
        "y": patch.y,
        "height": patch.shape[0],
        "width": patch.shape[1],
        "padding": " ".join(map(str, patch.padding)),
        "valid": measures.valid_fraction,
        "score": planned.score,
        "quality": planned.quality.value,
        "ring_before": measures.ring,
        "spacing_before": measures.spacing,
        "cones_before": measures.cones,
        "aiq_before": measures.aiq,
        "treat": planned.treat,
        "style": planned.style,
        "distance": planned.distance,
        "pair_score": planned.pair_score,
        "reason": planned.reason,
    }
