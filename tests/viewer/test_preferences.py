"""The preferences: read, checked, and done without where there are none."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from npe2 import PluginManifest

import napari_nst
from napari_nst.viewer.preferences import defaults

STANDARD = {"preset": "microscopy", "device": "auto", "weights": "embedded", "output_folder": ""}


@pytest.fixture
def preferences(plugin_settings, npe2pm):
    """The page of the plugin, in a folder of the test."""
    from napari.settings import get_plugin_settings

    npe2pm.register(PluginManifest.from_file(Path(napari_nst.__file__).with_name("napari.yaml")))
    return get_plugin_settings("napari-nst").transfer


def test_defaults_of_the_manifest(preferences):
    assert defaults() == STANDARD


def test_what_the_user_chose(preferences):
    preferences.preset, preferences.device, preferences.output_folder = "texture", "cpu", "/results"
    assert defaults() == {**STANDARD, "preset": "texture", "device": "cpu", "output_folder": "/results"}


def test_a_choice_outlives_the_session(preferences, tmp_path):
    preferences.preset = "gatys"
    assert "preset: gatys" in (tmp_path / "napari-nst.yaml").read_text()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("device", "abacus", "auto"),
        ("preset", "impressionist", "microscopy"),
        ("weights", "   ", "embedded"),
        ("weights", 19, "embedded"),
        ("output_folder", None, ""),
    ],
)
def test_a_value_that_cannot_be_used_is_replaced(monkeypatch, caplog, key, value, expected):
    page = SimpleNamespace(transfer=SimpleNamespace(**{**STANDARD, key: value}))
    monkeypatch.setattr("napari.settings.get_plugin_settings", lambda plugin: page)
    with caplog.at_level(logging.WARNING):
        assert defaults() == {**STANDARD, key: expected}
    assert key in caplog.text


def test_unknown_plugin(plugin_settings, caplog):
    # The fixture blocks discovery, so napari knows of no plugin at all.
    with caplog.at_level(logging.WARNING):
        assert defaults() == {}
    assert "preferences" in caplog.text
