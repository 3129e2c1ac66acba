"""What the commands share: exit statuses, options made from settings, interruption, progress bars."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from napari_nst.errors import ParameterError
from napari_nst.settings.presets import PRESETS, RECOMMENDED
from napari_nst.settings.specs import ParameterSpec

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

NOTE = "A style transfer changes pixels. It is no measurement, and its results are not for diagnosis."

PRESETS_HELP = (
    "Presets: "
    + " ".join(f"{name}: {preset.summary}" for name, preset in PRESETS.items())
    + f" The defaults above are those of {RECOMMENDED}; another preset brings its own."
)

_METAVARS = {"int": "N", "float": "X", "auto_float": "X", "names": "LAYERS", "numbers": "WEIGHTS", "range": "RANGE"}


def add_parameters(parser: argparse.ArgumentParser, title: str, specs: Iterable[ParameterSpec]) -> None:
    """Add an option for each setting, the advanced ones in a group of their own."""
    basic, advanced = parser.add_argument_group(title), parser.add_argument_group(f"{title}, further")
    for spec in specs:
        add_parameter(advanced if spec.advanced else basic, spec)


def add_parameter(group: argparse._ActionsContainer, spec: ParameterSpec) -> None:
    """Add one option; it has no default of its own, so that a preset fills whatever is not typed."""
    flags = [flag_of(name) for name in (spec.name, *spec.aliases)]
    unit = f" [{spec.unit}]" if spec.unit else ""
    described = f"{spec.help}{unit} (default: {spec.to_text(spec.default) or 'none'})".replace("%", "%%")
    common: dict[str, Any] = {"dest": spec.name, "default": argparse.SUPPRESS, "help": described}
    if spec.kind == "bool":
        group.add_argument(*flags, action=argparse.BooleanOptionalAction, **common)
    elif spec.kind == "choice":
        group.add_argument(*flags, choices=spec.choices, **common)
    else:
        group.add_argument(*flags, type=typed(spec), metavar=_METAVARS.get(spec.kind, "NAME"), **common)


def mask_help(what: str) -> str:
    """Return the help of an option for a mask, which `read_mask` reads."""
    return f"image of the size of {what} whose pixels other than 0 are used, or 'border' to leave out a black border"


def flag_of(name: str) -> str:
    """Return the option of a setting."""
    return f"--{name.replace('_', '-')}"


def typed(spec: ParameterSpec) -> Callable[[str], Any]:
    """Return how argparse turns text into the value of a setting."""

    def convert(text: str) -> Any:
        try:
            return spec.from_text(text)
        except ParameterError as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix(f"`{spec.name}` ")) from error

    return convert


def given_of(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return the options that were typed, of those named."""
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def read_mask(path: str) -> Any:
    """Return a mask from an image file, (y, x); of a color image, what is not black."""
    from napari_nst.io.images import ImageFile

    mask = ImageFile.read(path).data
    return mask if mask.ndim == 2 else mask[..., :3].any(axis=-1)


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


@contextlib.contextmanager
def progress_bar(title: str, **options: Any) -> Iterator[Callable[..., None]]:
    """Give ``show(done, total, text, title)`` for a bar on standard error; without a terminal a line every ten seconds.

    `text` is called only when the bar is drawn: the losses it may show are waited for on a GPU.
    """
    from tqdm import tqdm

    with tqdm(total=None, desc=title[:40], mininterval=0.1 if sys.stderr.isatty() else 10.0, **options) as bar:

        def show(done: int, total: int, text: Callable[[], str] = str, title: str = "") -> None:
            if title:
                bar.set_description_str(title, refresh=False)
            bar.total, bar.n = total, done
            if done in (1, total) or bar._time() - bar.last_print_t >= bar.mininterval:
                bar.set_postfix_str(text(), refresh=False)
                bar.refresh()
                bar.last_print_t = bar._time()

        yield show
