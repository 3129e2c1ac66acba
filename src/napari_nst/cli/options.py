"""Options of the command line, made from the descriptions of settings."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from napari_nst.errors import ParameterError
from napari_nst.settings.presets import PRESETS, RECOMMENDED
from napari_nst.settings.specs import ParameterSpec

__all__ = ["DONE", "FAILED", "INTERRUPTED", "NOTE", "PRESETS_TOLD", "USAGE", "add_parameter", "interruptible", "typed"]

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

NOTE = "A style transfer changes pixels. It is no measurement, and its results are not for diagnosis."

PRESETS_TOLD = (
    "Presets: "
    + " ".join(f"{name}: {preset.summary}" for name, preset in PRESETS.items())
    + f" The defaults above are those of {RECOMMENDED}; another preset brings its own."
)


_METAVARS = {"int": "N", "float": "X", "auto_float": "X", "names": "LAYERS", "numbers": "WEIGHTS", "range": "RANGE"}


def add_parameter(group: argparse._ArgumentGroup, spec: ParameterSpec) -> None:
    """Add one option; it has no default of its own, so that a preset fills whatever is not typed."""
    flags = [f"--{name.replace('_', '-')}" for name in (spec.name, *spec.aliases)]
    text = spec.help.replace("%", "%%")
    unit = f" [{spec.unit}]".replace("%", "%%") if spec.unit else ""
    default = spec.to_text(spec.default).replace("%", "%%") or "none"
    described = f"{text}{unit} (default: {default})"
    common: dict[str, Any] = {"dest": spec.name, "default": argparse.SUPPRESS, "help": described}
    if spec.kind == "bool":
        group.add_argument(*flags, action=argparse.BooleanOptionalAction, **common)
    elif spec.kind == "choice":
        group.add_argument(*flags, choices=spec.choices, **common)
    else:
        group.add_argument(*flags, type=typed(spec), metavar=_METAVARS.get(spec.kind, "NAME"), **common)


def typed(spec: ParameterSpec) -> Callable[[str], Any]:
    """How argparse turns text into the value of a setting."""

    def convert(text: str) -> Any:
        try:
            return spec.from_text(text)
        except ParameterError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Let the first Ctrl-C ask for a stop that keeps what was reached; the second one breaks off."""
    cancel = threading.Event()

    def stop(signum: int, frame: object) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()
        print("\nStopping; what was reached is kept. Press Ctrl-C again to break off.", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield cancel  # signals reach the main thread only
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)
