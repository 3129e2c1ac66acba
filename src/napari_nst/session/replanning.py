"""Changing a plan that is made already: other settings, other pairs, without measuring its patches again."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import ParameterError
from napari_nst.io.tables import KnownNames
from napari_nst.session import planning
from napari_nst.session.plan import PlannedPatch, SessionPlan
from napari_nst.session.quality import split_scores
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.session import SessionSettings

__all__ = ["NEEDS_READING", "Candidate", "needs_reading", "rejudge", "style_candidates", "with_pairs"]

#: Settings on which it depends what the patches are and what was measured in them, or where their files lie.
NEEDS_READING = ("size", "overlap", "border", "modality", "template", "orientation", "scale", "axial_length")
#: Settings on which the scores, the split, or the pairs depend.
_JUDGING = (
    *("quality", "quality_table", "markers", "markers_base", "threshold"),
    *("treat", "score", "max_distance", "spacing_tolerance"),
)


class Candidate(NamedTuple):
    """A patch that can be the style of another one.

    Attributes
    ----------
    name : str
        Of the patch.
    good : bool or None
        None is unknown.
    score : float
    distance : float
        From the target in pixels; NaN where unknown.
    """

    name: str
    good: bool | None
    score: float
    distance: float


def needs_reading(plan: SessionPlan, settings: SessionSettings, parameters: StyleTransferParameters) -> list[str]:
    """The settings that differ from those of a plan and for which its images must be read again."""
    names = [name for name in NEEDS_READING if getattr(plan.settings, name) != getattr(settings, name)]
    return names + ["value_range"] * (plan.parameters.value_range != parameters.value_range)


def rejudge(
    plan: SessionPlan,
    settings: SessionSettings,
    parameters: StyleTransferParameters | None = None,
    *,
    cancel: Cancel | None = None,
) -> SessionPlan:
    """Make a plan with other settings from the measures of one that is there.

    Parameters
    ----------
    plan : SessionPlan
        Is not changed.
    settings : SessionSettings
    parameters : StyleTransferParameters, optional
        Those of the plan by default.
    cancel : callable or threading.Event, optional
        Ends the work: KeyboardInterrupt is raised.

    Returns
    -------
    SessionPlan
        With pairs that were looked for, again unless nothing that they depend on differs. Pairs that were given are gone.

    Raises
    ------
    ParameterError
        A setting differs for which the images must be read again, see `needs_reading`.
    FileError
        A table or marker file is wrong.
    """
    parameters = plan.parameters if parameters is None else parameters
    again = needs_reading(plan, settings, parameters)
    if again:
        raise ParameterError(f"{again[0]}: another value needs the images again; make a new plan with plan_session.")
    if not plan.pairs_given and all(getattr(plan.settings, name) == getattr(settings, name) for name in _JUDGING):
        return replace(plan, settings=settings, parameters=parameters, _loaded=OrderedDict())
    notes: list[str] = []
    found = [(planned.patch, planned.measures) for planned in plan.patches]
    kind, scores = planning.score_patches(plan.folder, settings, found, plan.images, notes)
    split = split_scores(scores, None if isinstance(settings.threshold, str) else settings.threshold)
    made = replace(
        plan,
        settings=settings,
        parameters=parameters,
        patches=[
            PlannedPatch(patch, measures, score, good)
            for (patch, measures), score, good in zip(found, scores, split.good, strict=True)
        ],
        split=split,
        score_kind=kind,
        notes=notes,
        inputs=_inputs(plan, settings),
        pairs_given=False,
        _loaded=OrderedDict(),
    )
    planning.find_pairs(made, as_cancel(cancel))
    planning.describe(made)
    return made


def _inputs(plan: SessionPlan, settings: SessionSettings) -> dict[str, str]:
    """The files that the plan is made from: images as they were when they were measured, tables as they are now."""
    tables = ("marker file ", "quality table ")
    images = {name: digest for name, digest in plan.inputs.items() if not name.startswith(tables)}
    same = all(
        getattr(plan.settings, name) == getattr(settings, name) for name in ("quality", "quality_table", "markers")
    )
    if same and len(images) == len(plan.inputs):
        return plan.inputs
    now = planning.input_digests(plan.folder, settings)
    return {name: images.get(name, digest) for name, digest in now.items()}


def with_pairs(plan: SessionPlan, changes: Mapping[str, str]) -> SessionPlan:
    """Make a plan in which some patches have another style; it counts as one whose pairs were given.

    Parameters
    ----------
    plan : SessionPlan
        Is not changed.
    changes : mapping
        Patch to style; an empty style: the patch is not treated. Names may lack their extension.

    Raises
    ------
    ParameterError
        There is no such patch or style, or a patch shall be its own style.
    """
    known = KnownNames([planned.patch.name for planned in plan.patches])
    wanted: dict[str, str] = {}
    for given, given_style in changes.items():
        patch, style = known.find(given), known.find(given_style) if given_style else ""
        if patch is None or style is None:
            raise ParameterError(f"pairs: {known.unknown(given if patch is None else given_style)}")
        if patch == style:
            raise ParameterError(f"pairs: {patch!r} is its own style; give it another patch of the session.")
        wanted[patch] = style
    if not wanted:
        return plan
    finder = planning.pair_finder(plan)
    patches = [
        replace(
            planned,
            treat=bool(style),
            style=style,
            distance=finder.distance(planned.patch.name, style) if style else math.nan,
            pair_score=math.nan,
            reason="style: given" if style else "no style given, kept",
        )
        if (style := wanted.get(planned.patch.name)) is not None
        else planned
        for planned in plan.patches
    ]
    return replace(plan, patches=patches, pairs_given=True, _loaded=OrderedDict())


def style_candidates(plan: SessionPlan, patch: str) -> list[Candidate]:
    """All other patches: the good ones first, the near ones first among these."""
    finder = planning.pair_finder(plan)
    found = [
        Candidate(other.patch.name, other.good, other.score, finder.distance(patch, other.patch.name))
        for other in plan.patches
        if other.patch.name != patch
    ]
    return sorted(found, key=lambda c: (not c.good, math.isnan(c.distance), c.distance if c.distance >= 0 else 0.0))
