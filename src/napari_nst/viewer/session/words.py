"""What is said of a plan, and of the styles that a patch can have."""

from __future__ import annotations

from collections.abc import Callable

from napari_nst.session.plan import SessionPlan

__all__ = ["style_choices", "summary"]

_QUALITY = {"good": True, "poor": False, "unknown": None}


def style_choices(plan: SessionPlan, patch: str, short: Callable[[str], str]) -> list[tuple[str, str]]:
    """The styles that a patch can have, the best ones first: text and full name."""
    from napari_nst.session.planning import style_candidates

    words = {value: word for word, value in _QUALITY.items()}
    choices = [("(not treated)", "")]
    for found in style_candidates(plan, patch):
        where = f", {found.distance:.0f} px" if found.distance >= 0 else ""
        choices.append((f"{short(found.name)} ({words[found.good]}, {found.score:.3g}{where})", found.name))
    return choices


def summary(plan: SessionPlan) -> str:
    """What was found, in a few lines."""
    counts = {word: sum(p.good is value for p in plan.patches) for word, value in _QUALITY.items()}
    judged = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    images, total, treated = len(plan.images), len(plan.patches), len(plan.treated)
    text = f"{total} patch{'es' if total != 1 else ''} of {images} image{'s' if images != 1 else ''}: {judged}. "
    doing = "to be enhanced" if plan.settings.method != "none" else "paired"
    lines = [f"{text}{treated or 'None'} {doing}{', pairs changed by hand' if plan.pairs_given else ''}."]
    return "\n".join([*lines, *plan.notes, *(f"Not used: {entry['reason']}" for entry in plan.unreadable)])
