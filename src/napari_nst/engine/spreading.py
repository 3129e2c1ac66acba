"""Several GPUs: each takes the next batch when it is done with its last."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterator
from threading import Event, Lock, Thread
from typing import Any, TypeVar

from napari_nst.engine._torch import torch
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = ["devices_of", "spread"]

Work = TypeVar("Work")
Told = TypeVar("Told")

#: Events that may wait for whoever follows: a slow follower slows the devices down instead of filling the memory.
_WAITING = 256


def devices_of(parameters: StyleTransferParameters) -> list[str]:
    """The devices that a list of pictures is spread over: all CUDA devices, unless one is named."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if parameters.device in ("auto", "cuda") and count > 1:
        return [f"cuda:{number}" for number in range(count)]
    return [parameters.device]


def spread(
    work: Iterator[Work], devices: list[str], run: Callable[[Work, str], Generator[Told, None, Any]]
) -> Generator[Told, None, None]:
    """Run pieces of work on several devices, a thread for each, and yield what they tell.

    Parameters
    ----------
    work : iterator
        Pieces; a device asks for the next one when it is free.
    devices : list of str
        Names such as "cuda:1".
    run : callable
        Takes a piece and a device; a generator of what is told on the way.

    Raises
    ------
    BaseException
        Whatever `run` raises first; the other devices stop at their next event.
    """
    if len(devices) == 1:
        for piece in work:
            yield from run(piece, devices[0])
        return
    told: queue.Queue[tuple[str, Any]] = queue.Queue(_WAITING)
    stop, lock = Event(), Lock()

    def tell(kind: str, what: Any = None) -> None:
        while not stop.is_set():
            try:
                told.put((kind, what), timeout=0.1)
            except queue.Full:
                continue
            return

    def serve(device: str) -> None:
        try:
            while not stop.is_set():
                with lock:
                    piece = next(work, None)
                if piece is None:
                    break
                steps = run(piece, device)
                try:
                    for event in steps:
                        tell("event", event)
                        if stop.is_set():
                            break
                finally:
                    steps.close()
        except BaseException as error:  # noqa: BLE001  # carried to the thread that follows, where it is raised
            tell("error", error)
        finally:
            tell("done")

    threads = [Thread(target=serve, args=(device,), name=f"napari-nst {device}", daemon=True) for device in devices]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            kind, what = told.get()
            if kind == "event":
                yield what
            elif kind == "error":
                raise what
            else:
                running -= 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
