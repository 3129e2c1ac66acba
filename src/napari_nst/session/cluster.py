"""Where the patches are worked on: in this process, in local processes, or on any running Dask scheduler.

Dask distributed does the spreading: it starts and restarts workers, sends patches to them, and gives back what they
return. Only names and numbers travel; the images go through the output folder.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import ParameterError, SessionError, StyleTransferError, StyleTransferWarning
from napari_nst.session.patch_task import Cancelled, PatchTask, keep_original, run_task
from napari_nst.session.store import PatchRecord
from napari_nst.settings.parameters import StyleTransferParameters

if TYPE_CHECKING:
    from distributed import Client

    from napari_nst.transfer.api import TransferProgress

#: What a worker needs beside the patch itself: PyTorch, the network, and the images of a patch of 185 pixels.
MEMORY_PER_WORKER = 1.5 * 2**30
_POLL = 0.25  # seconds between two looks at whether to stop
_AHEAD = 3  # patches waiting at the scheduler for each thread of the workers: enough that none is idle
_FEW = 8  # threads that are reckoned with at least: an adaptive cluster grows by what waits


def choose_workers(patches: Sequence[PatchTask], parameters: StyleTransferParameters, spare: int = 0) -> int:
    """Return how many local processes help with these patches; 1 means none beside this one.

    On GPUs one for each; else as many as there are cores for `parameters.threads`, except `spare` of them, and memory.
    """
    slow = sum(task.transfers for task in patches)
    # A process starts in a second or two: a filter takes less, but its figures take about one.
    useful = slow or sum(bool(task.style) and task.settings.figures for task in patches) // 8
    if useful < 2:
        return 1
    if slow:
        from napari_nst.engine._torch import torch
        from napari_nst.engine.devices import resolve_device

        kind = resolve_device(parameters.device).type
        if kind == "cuda":
            return max(1, min(useful, torch.cuda.device_count() if ":" not in parameters.device else 1))
        if kind != "cpu":
            return 1
    import psutil

    affinity = getattr(os, "sched_getaffinity", None)
    cores = (len(affinity(0)) if affinity is not None else os.cpu_count() or 1) - spare
    memory = int(psutil.virtual_memory().available // MEMORY_PER_WORKER)
    return max(1, min(useful, cores // max(1, parameters.threads), memory))


def run_here(
    tasks: Sequence[PatchTask],
    cancel: Cancel | None = None,
    callback: Callable[[PatchTask, TransferProgress], object] | None = None,
) -> Iterator[PatchRecord]:
    """Work on the patches one after the other, in this process; yield their records, and end early when cancelled."""
    cancelled = as_cancel(cancel)
    for task in tasks:
        if cancelled():
            return
        try:
            yield run_task(task, cancel, None if callback is None else partial(callback, task))
        except Cancelled:
            return


def run_on(client: Client, tasks: Sequence[PatchTask], cancel: Cancel | None = None) -> Iterator[PatchRecord]:
    """Work on the patches on the workers of a cluster; yield their records as they come.

    Only some patches wait at the scheduler at any time, so that thousands of them need no memory there. A patch whose
    worker dies is started again on another one, up to the scheduler's limit of failures; then its original is kept.
    SessionError is raised where the scheduler is gone, or what happened to one patch would happen to all.
    """
    cancelled, waiting = as_cancel(cancel), deque(tasks)
    pending: dict[Any, PatchTask] = {}
    try:
        while (waiting or pending) and not cancelled():
            threads = sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
            while waiting and len(pending) < _AHEAD * max(threads, _FEW):
                task = waiting.popleft()
                key = f"napari-nst-{task.fingerprint[:16]}-{task.patch}"
                pending[client.submit(run_task, task, key=key, pure=False)] = task
            for future in _wait(client, pending):
                yield _record(client, future, pending.pop(future))
    except (OSError, CancelledError) as error:
        raise _gone(client) from error
    finally:
        if pending and client.status == "running":
            client.cancel(list(pending), force=True)


def _wait(client: Client, pending: Iterable[Any]) -> set[Any]:
    """Return the patches that ended within the time between two looks at whether to stop."""
    from distributed import wait

    try:
        with client.as_current():
            done: set[Any] = wait(list(pending), timeout=_POLL, return_when="FIRST_COMPLETED").done
            return done
    except TimeoutError:
        if client.status != "running":
            raise _gone(client) from None
        return set()


@contextmanager
def local_workers(number: int) -> Iterator[Client | None]:
    """Start local processes of one patch each, which end with this one; None where that is impossible, after a warning."""
    from distributed import Client, LocalCluster

    _quieten()
    try:
        cluster = LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",  # any free port: the usual one may be another cluster's
            silence_logs=logging.CRITICAL,
        )
    except (OSError, RuntimeError, TimeoutError) as error:
        warnings.warn(
            f"Local processes could not be started ({error}); going on in this one. In a script, put the call under "
            "`if __name__ == '__main__':`.",
            StyleTransferWarning,
            stacklevel=2,
        )
        yield None
        return
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def connect(scheduler: str, timeout: float = 15.0) -> Iterator[Client]:
    """Connect to a running scheduler, such as ``tcp://10.0.0.1:8786``, which has `timeout` seconds to answer."""
    from distributed import Client

    try:
        client = Client(scheduler, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise SessionError(
            f"The scheduler {scheduler} does not answer within {timeout:g} s. Check the address, and that `dask scheduler` "
            "runs there and the firewall lets it through."
        ) from error
    except ValueError as error:
        raise ParameterError(
            f"`scheduler` must be an address, got {scheduler!r} ({error}). Give one such as tcp://host:8786."
        ) from error
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            warnings.warn(
                f"The scheduler {scheduler} has no worker yet; waiting for the first one (`dask worker {scheduler}`).",
                StyleTransferWarning,
                stacklevel=2,
            )
        yield client


def _record(client: Client, future: Any, task: PatchTask) -> PatchRecord:
    from distributed import KilledWorker

    try:
        record: PatchRecord = future.result()
        return record
    except SessionError:
        raise
    except KilledWorker as error:
        return keep_original(
            task,
            f"Its worker died {error.allowed_failures + 1} times, the last one was {getattr(error.last_worker, 'address', '')}: "
            "probably the memory is too small for this patch. Give fewer workers.",
        )
    except StyleTransferError as error:
        return keep_original(task, str(error))
    except CancelledError as error:
        raise _gone(client) from error
    except (ImportError, AttributeError) as error:
        raise SessionError(
            f"A worker of {getattr(client.scheduler, 'addr', 'the cluster')} cannot run this version of napari-nst ({error}). "
            "Install the same version on every machine."
        ) from error
    except Exception as error:  # noqa: BLE001 - whatever breaks in one patch must not cost the others
        return keep_original(task, f"{type(error).__name__}: {error}")


def _gone(client: Client) -> SessionError:
    return SessionError(
        f"The scheduler {getattr(client.scheduler, 'addr', '')} is gone. What is finished is kept: start it again and give the "
        "same command."
    )


def _quieten() -> None:
    """Keep the comings and goings of workers off a user's screen, unless somebody asked to hear more."""
    if logging.getLogger().getEffectiveLevel() > logging.INFO:
        for name in ("", ".nanny", ".scheduler", ".worker", ".core"):
            logging.getLogger(f"distributed{name}").setLevel(logging.CRITICAL)


def check_not_starting() -> None:
    """Raise SessionError in a worker that only just imports the user's script, which would start workers in turn."""
    import multiprocessing

    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SessionError(
            "This script starts a session while it is imported by a worker of that session. Put the call under "
            "`if __name__ == '__main__':`, or give workers=1."
        )
