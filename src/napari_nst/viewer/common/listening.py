"""Brings the warnings of a run to its own listener, without touching anybody else's."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

from napari_nst.errors import StyleTransferWarning

__all__ = ["install", "listen", "uninstall", "unlisten"]

#: Thread to listener.
_listeners: dict[int, Callable[[str], object]] = {}
_lock = threading.Lock()
_ACTION = ("always", None, StyleTransferWarning, None, 0)
_before: Callable[..., Any] | None = None
_users = 0


def install() -> None:
    """Have every StyleTransferWarning shown while runs are under way; called once per run, in the GUI thread.

    Python shows a warning of one place once only, napari one of one text; a second run must warn again.
    ``warnings.catch_warnings`` does not serve: it is process-wide, and runs that overlap would restore each other's state.
    """
    global _before, _users
    with _lock:
        _users += 1
        if _users == 1:
            _before = warnings.showwarning
            warnings.simplefilter("always", StyleTransferWarning)
            warnings.showwarning = _show


def uninstall() -> None:
    """Undo :func:`install`; what others have installed since then stays."""
    global _before, _users
    with _lock:
        _users -= 1
        if _users:
            return
        if warnings.showwarning is _show and _before is not None:
            warnings.showwarning = _before
        _before = None
        filters: list[Any] = warnings.filters  # type: ignore[assignment]  # a list, whatever its stub says
        if _ACTION in filters:
            filters.remove(_ACTION)


def listen(listener: Callable[[str], object]) -> None:
    """Send the StyleTransferWarnings of this thread to a listener."""
    _listeners[threading.get_ident()] = listener


def unlisten() -> None:
    """End :func:`listen` for this thread."""
    _listeners.pop(threading.get_ident(), None)


def _show(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
    listener = _listeners.get(threading.get_ident())
    if listener is not None and issubclass(category, StyleTransferWarning):
        listener(str(message))
    elif _before is not None:
        _before(message, category, *args, **kwargs)
