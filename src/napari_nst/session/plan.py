"""What a session will do, as a table for people and as JSON for a run that goes on later."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.errors import FileError
from napari_nst.io.filenames import AosloName
from napari_nst.session.cropping import Patch, PatchImage, cut_patch
from napari_nst.session.images import LoadedImage, SessionImage, load_image
from napari_nst.session.pairing import PatchFacts
from napari_nst.session.quality import PatchMeasures, Split
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.session import SessionSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PlannedPatch", "SessionPlan", "plan_row"]


@dataclass(frozen=True)
class PlannedPatch:
    """A patch, what was measured in it, and what is to become of it.

    Attributes
    ----------
    patch : Patch
    measures : PatchMeasures
    score : float
        Its quality; NaN where unknown.
    good : bool or None
        Whether the score is above the threshold; None where unknown.
    treat : bool
        Whether it is enhanced.
    style : str
        Name of the patch whose texture it gets; "" for none.
    distance : float
        From the style, pixels on the retina; NaN where unknown.
    pair_score : float
        What the pairing was chosen by; NaN where there is none.
    reason : str
        Why, in words.
    """

    patch: Patch
    measures: PatchMeasures
    score: float
    good: bool | None
    treat: bool = False
    style: str = ""
    distance: float = math.nan
    pair_score: float = math.nan
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {**plain, "patch": self.patch.to_dict(), "measures": self.measures._asdict()}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> PlannedPatch:
        """From JSON, where an unknown number is null."""
        numbers = {key: _number(entry[key]) for key in ("score", "distance", "pair_score")}
        measures = PatchMeasures(**{key: _number(value) for key, value in entry["measures"].items()})
        return cls(**{**entry, **numbers, "patch": Patch.from_dict(entry["patch"]), "measures": measures})


@dataclass(eq=False)
class SessionPlan:
    """What a session will do.  `table` shows it; `crop` gives the pixels of a patch.

    Attributes
    ----------
    folder : Path
        Where the images lie.
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

    folder: Path
    settings: SessionSettings
    parameters: StyleTransferParameters
    images: list[SessionImage]
    patches: list[PlannedPatch]
    split: Split
    score_kind: str
    left_out: list[dict[str, str]] = field(default_factory=list)
    unreadable: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    pairs_given: bool = False
    placing_notes: list[str] = field(default_factory=list)
    _loaded: dict[str, LoadedImage] = field(default_factory=dict, repr=False, init=False)

    def __getitem__(self, name: str) -> PlannedPatch:
        return next(planned for planned in self.patches if planned.patch.name == name)

    def image_of(self, patch: Patch) -> SessionImage:
        """The image that a patch was cut from."""
        return next(image for image in self.images if image.name == patch.image)

    def load(self, name: str) -> LoadedImage:
        """The pixels of an image; the last few are kept.

        Raises
        ------
        FileError
            It has changed or vanished since the plan was made.
        """
        if name not in self._loaded:
            loaded = load_image(self.folder / name, self.settings, self.parameters.value_range)
            if loaded.image.sha256 != self.inputs.get(name, loaded.image.sha256):
                raise FileError(f"{name} has changed since the plan was made; start again with another output folder.")
            self._loaded[name] = loaded
            while len(self._loaded) > 4:
                del self._loaded[next(iter(self._loaded))]
        return self._loaded[name]

    def crop(self, patch: Patch) -> PatchImage:
        """The pixels of one patch."""
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
        """What the pairing looks at, for every patch."""
        images = {image.name: image for image in self.images}
        return [self._facts_of(planned, images[planned.patch.image]) for planned in self.patches]

    def _facts_of(self, planned: PlannedPatch, image: SessionImage) -> PatchFacts:
        patch, padding = planned.patch, planned.patch.padding
        return PatchFacts(
            patch=patch.name,
            image=AosloName.parse(image.name).full_image.text if image.cropped else image.name,
            x=patch.x,
            y=patch.y,
            height=patch.shape[0] - sum(padding[:2]),
            width=patch.shape[1] - sum(padding[2:]),
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
        """What tells one session from another: settings, pairing and the content of every file that it starts from."""
        pairs = {planned.patch.name: planned.style for planned in self.treated} if self.pairs_given else None
        asked = [self.settings.asdict(), self.parameters.asdict(), self.inputs, pairs]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the folder is left to the caller, because it may move."""
        return {
            "settings": self.settings.asdict(),
            "parameters": self.parameters.asdict(),
            "images": [image.to_dict() for image in self.images],
            "patches": [planned.to_dict() for planned in self.patches],
            "split": {k: v for k, v in asdict(self.split).items() if k != "good"},
            "score_kind": self.score_kind,
            "left_out": self.left_out,
            "unreadable": self.unreadable,
            "notes": self.notes,
            "inputs": self.inputs,
            "pairs_given": self.pairs_given,
            "placing_notes": self.placing_notes,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], folder: Path) -> SessionPlan:
        """From JSON: the plan as it was made, so that a session that goes on is the same session."""
        patches = [PlannedPatch.from_dict(entry) for entry in record["patches"]]
        return cls(
            folder=folder,
            settings=SessionSettings.from_record(record["settings"]),
            parameters=StyleTransferParameters.from_record(record["parameters"]),
            images=[SessionImage.from_dict(entry) for entry in record["images"]],
            placing_notes=list(record.get("placing_notes", [])),
            patches=patches,
            split=Split(
                **{**record["split"], "separability": _number(record["split"]["separability"])},
                good=tuple(planned.good for planned in patches),
            ),
            **{key: record[key] for key in ("score_kind", "left_out", "unreadable", "notes", "inputs", "pairs_given")},
        )


def plan_row(planned: PlannedPatch) -> dict[str, Any]:
    """What the tables say of a patch before anything is done."""
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
        "quality": {True: "good", False: "poor", None: "unknown"}[planned.good],
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


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
