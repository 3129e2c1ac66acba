"""The manifest: valid, the same at both places, and true to the parameters."""

from __future__ import annotations

import importlib
import re
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
from npe2 import PluginManifest

from napari_nst import StyleTransferParameters
from napari_nst.settings.presets import PRESETS, RECOMMENDED
from napari_nst.viewer.preferences import KEYS
from napari_nst.viewer.sample import SAMPLES

PACKAGED = files("napari_nst") / "napari.yaml"
MANIFEST = PluginManifest.from_file(Path(str(PACKAGED)))
CONTRIBUTIONS = MANIFEST.contributions


def test_top_level_copy_is_equal():
    top = Path(__file__).parents[2] / "napari.yaml"
    if not top.exists():
        pytest.skip("not a source tree")
    assert top.read_bytes() == PACKAGED.read_bytes()


def test_names():
    assert MANIFEST.name == "napari-nst"
    assert {str(category) for category in MANIFEST.categories} == {"Image Processing", "Transformations"}
    assert [widget.display_name for widget in CONTRIBUTIONS.widgets] == [
        "Style Transfer",
        "Enhance Session",
        "Assessment",
    ]


@pytest.mark.parametrize("command", CONTRIBUTIONS.commands, ids=lambda command: command.id)
def test_every_python_name_can_be_imported(command):
    module, _, name = command.python_name.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_every_contribution_has_its_command():
    known = {command.id for command in CONTRIBUTIONS.commands}
    used = {item.command for items in CONTRIBUTIONS.menus.values() for item in items}
    used |= {widget.command for widget in CONTRIBUTIONS.widgets}
    used |= {sample.command for sample in CONTRIBUTIONS.sample_data}
    assert used <= known
    assert all(command.startswith("napari-nst.") for command in known)


def test_menus_take_contributions():
    from napari._app_model.constants._menus import is_menu_contributable

    assert set(CONTRIBUTIONS.menus) == {"napari/layers/filter", "napari/layers/visualize"}
    assert all(is_menu_contributable(menu) for menu in CONTRIBUTIONS.menus)


def test_no_field_that_npe2_before_0_10_forbids():
    assert not re.search(r"default_dock_area|tabify|schema_version", PACKAGED.read_text())


def test_icon_is_shipped_and_drawn():
    package, _, name = MANIFEST.icon.partition(":")
    root = ElementTree.fromstring((files(package) / name).read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall(".//{*}circle")) > 3


def test_samples():
    assert {sample.key for sample in CONTRIBUTIONS.sample_data} == set(SAMPLES)


def test_preferences_follow_the_parameters():
    properties = CONTRIBUTIONS.configurations["transfer"].properties
    assert set(properties) == set(KEYS)
    assert properties["preset"].enum == list(PRESETS) == list(StyleTransferParameters.spec("preset").choices)
    for device in properties["device"].enum:
        assert StyleTransferParameters(device=device).device == device
    for key in ("preset", "device", "weights"):
        assert properties[key].type == "string"
        recommended = {spec.name: spec.default for spec in StyleTransferParameters.recommended_specs()}
        assert properties[key].default == recommended[key]
    assert properties["preset"].default == RECOMMENDED
    assert properties["output_folder"].default == ""
