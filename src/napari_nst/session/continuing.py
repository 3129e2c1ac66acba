"""Whether an output folder holds the very session that is asked for, so that a run can go on in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.errors import FileError, StyleTransferError
from napari_nst.session.plan import SessionPlan
from napari_nst.session.planning import input_digests, read_given_pairs

if TYPE_CHECKING:
    from napari_nst.session.planning import Pairs
    from napari_nst.settings.parameters import StyleTransferParameters
    from napari_nst.settings.session import SessionSettings

__all__ = ["continued_plan"]

_TOLD = 4


def continued_plan(
    state: Mapping[str, Any],
    output: Path,
    folder: Path,
    settings: SessionSettings,
    parameters: StyleTransferParameters,
    pairs: Pairs | None,
) -> SessionPlan:
    """The plan of the session in an output folder, if it is the one that is asked for.

    Parameters
    ----------
    state : mapping
        What session.json says.
    output, folder : Path
        Where the results and the images lie.
    settings, parameters, pairs
        What is asked for now.

    Raises
    ------
    FileError
        It is another session; the message says what differs.
    """
    try:
        plan = SessionPlan.from_dict(state["plan"], folder)
    except (KeyError, TypeError, ValueError, AttributeError, StyleTransferError) as error:
        raise FileError(
            f"{output} holds a session that this version cannot go on with ({error!r}). Choose another output folder; what "
            "lies in this one stays as it is."
        ) from error
    differs = [
        f"{name} was {before!r}, now {now!r}"
        for old, new in ((plan.settings, settings), (plan.parameters, parameters))
        for (name, before), now in zip(old.asdict().items(), new.asdict().values(), strict=True)
        if before != now
    ]
    differs += _other_files(plan.inputs, input_digests(folder, settings))
    differs += _other_pairs(plan, pairs)
    if differs:
        more = f", and {len(differs) - _TOLD} more" if len(differs) > _TOLD else ""
        raise FileError(
            f"{output} holds another session: {'; '.join(differs[:_TOLD])}{more}. Choose another output folder, or ask for the "
            "same again to go on with this one."
        )
    return plan


def _other_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    gone = [f"{name} is missing" for name in before if name not in now]
    new = [f"{name} is new" for name in now if name not in before]
    return gone + new + [f"{name} has changed" for name in before if name in now and before[name] != now[name]]


def _other_pairs(plan: SessionPlan, pairs: Pairs | None) -> list[str]:
    if pairs is None:
        return ["its pairs were given, now they are to be found"] if plan.pairs_given else []
    if not plan.pairs_given:
        return ["its pairs were found, now they are given"]
    before = {planned.patch.name: planned.style for planned in plan.treated}
    now = read_given_pairs(pairs, [planned.patch.name for planned in plan.patches])
    other = [name for name in before | now if before.get(name) != now.get(name)]
    return [f"the style of {name} was {before.get(name)!r}, now {now.get(name)!r}" for name in other]
