"""What ``napari-nst benchmark`` reports: arithmetic on given times, and one tiny run."""

import json
import threading

import pytest
import torch

from napari_nst.benchmark.report import Benchmark, Speed, machine, run_benchmark, stepper
from napari_nst.benchmark.timing import OtherPrograms, Timing, ratio
from napari_nst.engine.devices import has_bfloat16
from napari_nst.errors import ParameterError

CPU = torch.device("cpu")
MACHINE = {"device": "cpu (test)", "cores": 4, "threads": 4, "features": ["AMX"], "versions": {"torch": "2"}}


def report(narrow=0.1, wide=0.3, threads=None, **more):
    """As from a machine whose steps take so long."""
    roofline = Timing((narrow / 2,) * 3)
    step = Timing((narrow,) * 3)
    speeds = (
        Speed("documented", "bfloat16", 100, step, roofline, ratio(step, roofline)),
        Speed("texture", "bfloat16", 50, Timing((narrow / 4,) * 3)),
        Speed("documented", "float32", 100, Timing((wide,) * 3), Timing((wide,) * 3)),
    )
    threads = {n: Timing((seconds,) * 3) for n, seconds in (threads or {4: narrow}).items()}
    return Benchmark(MACHINE, 64, 3, speeds, threads, automatic="bfloat16", **more)


def test_time_of_a_patch_and_patches_of_an_hour():
    documented, texture, _ = report().speeds
    assert documented.seconds_per_patch == pytest.approx(10.1)  # 100 steps, and one for the targets
    assert texture.seconds_per_patch == pytest.approx(51 * 0.025)
    assert documented.patches_per_hour == pytest.approx(356.4, abs=0.1)
    assert documented.over_roofline is not None
    assert documented.over_roofline.by_round == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("threads", "recommended"),
    [({}, 4), ({4: 0.1, 2: 0.19}, 4), ({4: 0.1, 2: 0.104}, 2), ({4: 0.1, 2: 0.08}, 2), ({1: 0.1}, 1)],
)
def test_fewer_threads_are_recommended_where_they_are_as_good(threads, recommended):
    assert report(threads=threads).recommended_threads == recommended


def test_the_fastest_precision_is_recommended():
    assert report().precision == "bfloat16"
    assert "precision bfloat16 (what auto takes)" in report().to_text()
    slow = report(narrow=0.5)
    assert slow.precision == "float32"
    assert "precision float32 (auto would take bfloat16)" in slow.to_text()


def test_the_json_holds_everything():
    read = json.loads(report(threads={4: 0.1, 2: 0.2}, other_programs=1.5, notes=("noisy",)).to_json())
    assert read["machine"] == MACHINE
    assert read["recommended"] == {"precision": "bfloat16", "threads": 4}
    assert read["other_programs_cores"] == 1.5
    assert read["notes"] == ["noisy"]
    first, second, _ = read["speeds"]
    assert (first["preset"], first["precision"], first["step"]["seconds"]) == ("documented", "bfloat16", [0.1] * 3)
    assert first["over_roofline"]["by_round"] == pytest.approx(2.0)
    assert second["roofline"] is None
    assert second["over_roofline"] is None
    assert read["threads"]["2"]["median"] == 0.2


def test_the_text_names_what_people_need():
    message = report(threads={4: 0.1, 2: 0.2}, notes=("others were busy",)).to_text()
    for part in ("cpu (test)", "64 × 64", "documented   bfloat16     0.1000", "2.00", "10.1", "356", "2: 0.2000 s"):
        assert part in message
    assert message.endswith("Warning: others were busy")


def test_a_tiny_run(one_thread):
    seen = []
    result = run_benchmark(32, 2, device="cpu", callback=lambda *now: seen.append(now))
    assert result is not None
    expected = {"float32"} | ({"bfloat16"} if has_bfloat16(CPU) else set())
    assert {(s.preset, s.precision) for s in result.speeds} == {
        (p, e) for p in ("documented", "texture") for e in expected
    }
    assert (result.size, result.rounds) == (32, 2)
    for speed in result.speeds:
        assert len(speed.step.seconds) == 2
        assert (speed.roofline is not None) == (speed.preset == "documented")
    assert [done for _, done, _ in seen] == list(range(1, seen[-1][2] + 1))
    assert list(result.threads) == [1]
    json.loads(result.to_json())


def test_threads_are_given_back_and_half_of_them_measured(one_thread):
    result = run_benchmark(32, 1, device="cpu", precision="float32", threads=2)
    assert result is not None
    assert sorted(result.threads) == [1, 2]
    assert result.machine["threads"] == 2
    assert {s.precision for s in result.speeds} == {"float32"}
    assert "precision" not in result.to_text().split("Recommended:")[1].splitlines()[0]
    assert torch.get_num_threads() == 1


def test_busy_programs_and_wide_spreads_are_reported(monkeypatch, one_thread):
    monkeypatch.setattr("napari_nst.benchmark.report._WIDE", -1.0)
    monkeypatch.setattr(OtherPrograms, "disturb", lambda self, threads, cores: True)
    result = run_benchmark(32, 1, device="cpu", precision="float32")
    assert result is not None
    busy, wide = result.notes
    assert "other programs kept" in busy
    assert "vary by" in wide


def test_a_stop_before_the_first_round_leaves_nothing(one_thread):
    cancel = threading.Event()
    cancel.set()
    assert run_benchmark(32, 1, device="cpu", precision="float32", cancel=cancel) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 8}, "`size` must be from 32 to 4096 pixels, got 8"),
        ({"size": 10**6}, "`size` must .*got 1000000"),
        ({"rounds": 0}, "`steps` must .*got 0"),
        ({"precision": "float16"}, "float16"),
        ({"device": "tpu"}, "tpu"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"threads": -1}, "threads"),
    ],
)
def test_what_is_not_possible_is_refused(arguments, message):
    with pytest.raises(ParameterError, match=message):
        run_benchmark(**arguments)


def test_bfloat16_on_a_device_without_it_is_refused(monkeypatch):
    monkeypatch.setattr("napari_nst.engine.devices.has_bfloat16", lambda device: False)
    with pytest.raises(ParameterError, match="has no bfloat16"):
        run_benchmark(32, 1, device="cpu", precision="bfloat16")


def test_every_call_of_a_stepper_is_a_step(one_thread):
    with stepper(32, 3, device="cpu", precision="float32") as step:
        assert [step().step for _ in range(3)] == [1, 2, 3]
        with pytest.raises(StopIteration):
            step()


def test_the_machine_is_described_by_what_bears_on_speed():
    facts = machine(CPU)
    json.dumps(facts)
    assert facts["threads"] == torch.get_num_threads()
    assert facts["cores"] >= 1
    assert facts["device"] == f"cpu ({facts['processor']})"
    known = {"device", "processor", "cores", "threads", "instructions", "features", "versions"}
    assert set(facts) == known  # and no name of a computer
