"""Sessions over several processes: equal images, and nothing lost when workers, the client or the scheduler die."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pandas as pd
import psutil
import pytest

from napari_nst.errors import ParameterError, SessionError
from napari_nst.session import cluster
from napari_nst.session.run import enhance_session
from napari_nst.session.store import file_digest
from sessions import QUICK

#: Slow enough that there is something to interrupt: some seconds in all.
SLOW = {**QUICK, "method": "nst", "epoch": 8}
#: The same without PyTorch, which takes its time to start in every process.
DRAWN = {**QUICK, "figures": True}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, _made_folder):
    """The session in one process: what every other run must come to."""
    return enhance_session(_made_folder, tmp_path_factory.mktemp("alone") / "out", **SLOW)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, _made_folder):
    return enhance_session(_made_folder, tmp_path_factory.mktemp("drawn") / "out", **DRAWN)


@pytest.fixture(autouse=True)
def _nobody_stays():
    yield
    assert not psutil.wait_procs(workers_of(os.getpid()), timeout=20)[1]


def images(result):
    return {
        path.relative_to(result.folder): file_digest(path)
        for path in sorted(result.folder.rglob("*.*"))
        if path.suffix in (".tif", ".csv", ".png") and path.name != "session.csv"
    }


def workers_of(pid):
    return [p for p in psutil.Process(pid).children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_two_workers_make_the_same_images_even_when_one_is_killed(folder, tmp_path, alone, same_tables):
    killed = []

    def kill(now):
        if now.row and now.row["status"] == "enhanced" and not killed:
            killed.append(workers_of(os.getpid())[0])
            killed[0].send_signal(signal.SIGKILL)

    result = enhance_session(folder, tmp_path / "out", **{**SLOW, "workers": 2}, callback=kill)
    assert len(killed) == 1
    assert result.ok
    same_tables(result.table, alone.table)
    assert images(result) == images(alone)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_a_client_that_dies_goes_on_with_the_same_command(folder, tmp_path, drawn, same_tables, how):
    """As from a terminal, where Ctrl-C reaches the workers, too."""
    command = [sys.executable, "-m", "napari_nst", "enhance", str(folder), "-o", str(tmp_path / "out")]
    command += ["--size=96", "--method=spectrum", "--workers=2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    records = tmp_path / "out" / "spectrum" / "records"
    deadline = time.monotonic() + 150
    while not records.is_dir() or len(list(records.glob("*.json"))) < 7:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = workers_of(process.pid)
    if how == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    output = process.communicate(timeout=60)[0]
    assert process.returncode == (130 if how == "SIGINT" else -9), output
    assert not psutil.wait_procs(workers, timeout=30)[1]
    finished = {path: path.stat().st_mtime_ns for path in records.glob("*.json")}
    again = subprocess.run([*command[:-1], "--workers=1"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "12 patches of 2 images: 6 enhanced, 6 kept as they are" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    result = enhance_session(folder, tmp_path / "out", **DRAWN)
    assert result.repeated
    same_tables(result.table, drawn.table)
    assert images(result) == images(drawn)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out" / "session.csv").drop(columns="seconds"),
        pd.read_csv(drawn.paths["table"]).drop(columns="seconds"),
    )


@pytest.mark.slow
def test_a_running_scheduler_by_its_address(folder, tmp_path, alone, same_tables):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp", silence_logs=50
    ) as local:
        result = enhance_session(folder, tmp_path / "out", **SLOW, scheduler=local.scheduler_address)
        assert result.ok
        same_tables(result.table, alone.table)
        assert images(result) == images(alone)


def test_stopping_a_cluster_keeps_what_is_finished(folder, tmp_path):
    from distributed import LocalCluster

    stop = threading.Event()
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp", silence_logs=50
    ) as local:
        address = local.scheduler_address
        result = enhance_session(
            folder,
            tmp_path / "out",
            **QUICK,
            scheduler=address,
            cancel=stop,
            callback=lambda now: now.row and stop.set(),
        )
    assert result.state == "cancelled"
    assert 0 < (result.table["status"] == "open").sum() < 12
    assert enhance_session(folder, tmp_path / "out", **QUICK).ok


def test_a_scheduler_that_does_not_answer(folder, tmp_path, monkeypatch):
    connect = cluster.connect
    monkeypatch.setattr("napari_nst.session.run.connect", lambda address: connect(address, timeout=1.0))
    with pytest.raises(SessionError, match=r"tcp://127\.0\.0\.1:9 does not answer within 1 s.*dask scheduler"):
        enhance_session(folder, tmp_path / "out", **QUICK, scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "out").exists()  # nothing was assessed first
    with pytest.raises(ParameterError, match="must be an address"):
        enhance_session(folder, tmp_path / "out", **QUICK, scheduler="magic://somewhere")
    assert enhance_session(folder, tmp_path / "out", **QUICK).ok


def test_a_worker_that_does_not_see_the_folder(folder, tmp_path, monkeypatch):
    from napari_nst.session.patch_task import run_task
    from napari_nst.session.store import SessionStore

    seen = []
    monkeypatch.setattr("napari_nst.session.run.run_here", lambda tasks, *rest: iter(seen.extend(tasks) or ()))
    enhance_session(folder, tmp_path / "out", **QUICK)
    monkeypatch.setattr(SessionStore, "read_state", lambda self: None)
    with pytest.raises(SessionError, match=r"does not see the session.*same path"):
        run_task(seen[0])


@pytest.mark.slow
def test_a_script_without_the_guard_goes_on_in_its_own_process(folder, tmp_path):
    script = tmp_path / "script.py"
    settings = {**QUICK, "workers": 2}
    script.write_text(
        textwrap.dedent(
            f"""
            from napari_nst.session.run import enhance_session
            print(enhance_session({str(folder)!r}, {str(tmp_path / "out")!r}, **{settings!r}).summary())
            """
        ),
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "going on in this one" in done.stderr
    assert "6 enhanced" in done.stdout


def test_how_many_processes_help(folder, tmp_path, monkeypatch):
    from napari_nst.settings.parameters import StyleTransferParameters

    seen = []
    monkeypatch.setattr("napari_nst.session.run.run_here", lambda tasks, *rest: iter(seen.extend(tasks) or ()))
    enhance_session(folder, tmp_path / "out", **SLOW)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 64 * 2**30}))
    one, two = StyleTransferParameters(device="cpu", threads=1), StyleTransferParameters(device="cpu", threads=2)
    assert cluster.choose_workers(seen, one) == 6  # no more than there are patches to enhance
    assert cluster.choose_workers(seen, two) == 4
    assert cluster.choose_workers(seen, one, spare=4) == 4
    assert cluster.choose_workers(seen[:7], one) == 1
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 5 * 2**30}))
    assert cluster.choose_workers(seen, one) == 3


def test_each_worker_takes_a_gpu_of_its_own(tmp_path, monkeypatch):
    import tempfile

    from napari_nst.session import patch_task as work

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(work, "_TAKEN", [])
    assert [work.own_gpu(name, 2) for name in ("0", "1", "2", "gpu-3")] == [0, 1, 0, 1]
    addresses = [f"tcp://127.0.0.1:{port}" for port in (36001, 36002, 36003)]
    assert work.own_gpu(addresses[0], 1) == 0
    assert [work.own_gpu(address, 2) for address in addresses[:2]] == [0, 1]
    assert work.own_gpu(addresses[2], 2) == os.getpid() % 2  # both are taken
    assert work.own_gpu(addresses[0], 2) == 0
    for lock in work._TAKEN:
        lock.release()
    assert work.own_gpu("tcp://127.0.0.1:36004", 2) == 0  # free again
    for lock in work._TAKEN:
        lock.release()
