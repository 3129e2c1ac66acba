"""Several GPUs: each takes the next batch when it is done with its last."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import Any, TypeVar

from napari_nst.engine._torch import torch
from napari_nst.settings.parameters import StyleTransferParameters

Work = TypeVar("Work")
Reported = TypeVar("Reported")

#: Events that may wait for whoever follows: a slow follower slows the devices down instead of filling the memory.
_WAITING = 256


def devices_of(parameters: StyleTransferParameters) -> list[str]:
    """Return the devices that a list of images is spread over: all CUDA devices, unless one is named."""
    count = torch.cuda.device_count() if parameters.device in ("auto", "cuda") and torch.cuda.is_available() else 0
    return [f"cuda:{number}" for number in range(count)] if count > 1 else [parameters.device]


def spread(
    work: Iterator[Work], devices: list[str], run: Callable[[Work, str], Generator[Reported, None, Any]]
) -> Generator[Reported, None, None]:
    """Run pieces of work on several devices, a thread for each, and yield what they report.

    A device asks for the next piece when it is free.  Whatever `run(piece, device)` raises first leaves; the other devices
    stop at their next event.
    """
    if len(devices) < 2:
        for piece in work:
            yield from run(piece, devices[0])
        return
    events: queue.Queue[Reported] = queue.Queue(_WAITING)
    stop, lock = Event(), Lock()

    def put(event: Reported) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                events.put(event, timeout=0.1)
                return

    def serve(device: str) -> None:
        while not stop.is_set():
            with lock:
                piece = next(work, None)
            if piece is None:
                return
            with contextlib.closing(run(piece, device)) as steps:
                for event in steps:
                    put(event)
                    if stop.is_set():
                        return

    with ThreadPoolExecutor(len(devices), thread_name_prefix="napari-nst") as pool:
        running = [pool.submit(serve, device) for device in devices]
        try:
            while running or not events.empty():
                for done in [future for future in running if future.done()]:
                    running.remove(done)
                    done.result()
                with contextlib.suppress(queue.Empty):
                    yield events.get(timeout=0.05)
        finally:
            stop.set()
