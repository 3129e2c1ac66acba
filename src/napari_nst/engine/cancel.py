"""How a caller asks for a stop; apart from the loop, so that asking needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from napari_nst.errors import ParameterError


@runtime_checkable
class _Event(Protocol):
    def is_set(self) -> bool: ...


#: A ``threading.Event`` (or anything with ``is_set``), or a function that returns True to stop.
Cancel = _Event | Callable[[], bool]


def as_cancel(cancel: Cancel | None) -> Callable[[], bool]:
    """Make one kind of question of the forms in which a caller may ask for a stop."""
    if cancel is None:
        return lambda: False
    if isinstance(cancel, _Event):
        return cancel.is_set
    if callable(cancel):
        return cancel
    raise ParameterError(f"cancel: {cancel!r} can neither be called nor asked is_set(); pass a threading.Event.")
