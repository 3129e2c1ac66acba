"""Work spread over devices, with the CPU standing in for each of them."""

import threading

import numpy as np
import pytest

from napari_nst import transfer_style
from napari_nst.engine import spreading
from napari_nst.engine.spreading import devices_of, spread
from napari_nst.errors import ImageError
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.transfer import stack

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("devices", [["a"], ["a", "b"], ["a", "b", "c", "d", "e", "f", "g"]])
def test_every_piece_is_done_once_and_tells_everything(devices):
    by = {}

    def run(piece, device):
        by.setdefault(piece, []).append(device)
        for part in range(3):
            yield piece, part

    told = list(spread(iter(range(20)), devices, run))
    assert sorted(told) == [(piece, part) for piece in range(20) for part in range(3)]
    assert sorted(by) == list(range(20))
    assert all(len(d) == 1 and d[0] in devices for d in by.values())
    for piece in range(20):
        assert [part for p, part in told if p == piece] == [0, 1, 2]


def test_two_devices_work_at_the_same_time():
    meeting = threading.Barrier(2, timeout=30)

    def run(piece, device):
        meeting.wait()
        yield device

    assert sorted(spread(iter(range(2)), ["a", "b"], run)) == ["a", "b"]


def test_an_error_comes_to_whoever_follows_and_ends_all():
    ended = []

    def run(piece, device):
        try:
            for step in range(1_000_000):
                if piece == 1 and step == 3:
                    raise ImageError("no such image")
                yield piece
        finally:
            ended.append(piece)

    with pytest.raises(ImageError, match="no such image"):
        list(spread(iter(range(9)), ["a", "b"], run))
    assert sorted(ended) == [0, 1]
    assert not [t for t in threading.enumerate() if t.name.startswith("napari-nst")]


def test_who_stops_following_stops_the_devices():
    ended = []

    def run(piece, device):
        try:
            while True:
                yield piece
        finally:
            ended.append(piece)

    steps = spread(iter(range(9)), ["a", "b"], run)
    for _ in range(600):  # more than may wait
        next(steps)
    steps.close()
    assert sorted(ended) == [0, 1]


def test_which_devices(monkeypatch):
    monkeypatch.setattr(spreading.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(spreading.torch.cuda, "device_count", lambda: 3)
    assert devices_of(StyleTransferParameters()) == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices_of(StyleTransferParameters(device="cuda")) == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices_of(StyleTransferParameters(device="cuda:1")) == ["cuda:1"]
    assert devices_of(StyleTransferParameters(device="cpu")) == ["cpu"]
    monkeypatch.setattr(spreading.torch.cuda, "device_count", lambda: 1)
    assert devices_of(StyleTransferParameters()) == ["auto"]


def test_a_list_of_images_on_two_devices(pair, monkeypatch):
    given = {
        "preset": "texture", "content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1"), "epoch": 2,
        "device": "cpu", "threads": 1, "precision": "float64",
    }  # fmt: skip
    targets = [pair.target[4 * k : 4 * k + 24, :32].astype(np.float32) for k in range(5)]
    targets.append(np.stack(targets[:2]))
    plain = transfer_style(targets, pair.style[:24], **given)
    monkeypatch.setattr(stack, "devices_of", lambda p: ["cpu", "cpu"])
    seen = []
    spread_out = transfer_style(targets, pair.style[:24], **given, callback=lambda p: seen.append((p.target, p.step)))
    for one, other in zip(spread_out, plain, strict=True):
        assert np.array_equal(one.image, other.image)
    assert sorted(seen) == sorted([(k, s) for k in range(5) for s in (1, 2)] + [(5, s) for s in (1, 2, 3, 4)])
