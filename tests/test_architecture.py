"""The arrows of the design, read from the import statements: imports run downwards only."""

import ast
from pathlib import Path

import pytest

import napari_nst

ROOT = Path(napari_nst.__file__).parent
MODULES = {
    ".".join(("napari_nst", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
SCREEN = {"napari", "magicgui", "qtpy", "superqt", "npe2", "PyQt5", "PyQt6", "PySide6", "vispy"}

#: What each room may import of ours; the first room whose prefix fits counts.
FLOORS = {
    "napari_nst.errors": set(),
    "napari_nst.engine": {"napari_nst.engine", "napari_nst.errors"},
    "napari_nst.images": {"napari_nst.images", "napari_nst.errors"},
}
#: Between the engine and what people touch: arrays in, arrays out.
TRANSFER = ("transfer", "preparation", "record", "outputs", "plots", "metrics")
ABOVE_TRANSFER = {"session", "pipeline", "cli", "demo", "info", "viewer", "__main__"}


def imports_of(path, runtime=True):
    """(module, line, at run time) of every import, those inside functions included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            typing_only |= {id(inner) for statement in node.body for inner in ast.walk(statement)}
    for node in ast.walk(tree):
        if runtime and id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports name the package in full"
            assert node.module is not None
            # "from napari_nst.images import masks" may name a module, too
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def ours(name):
    """The module of ours that an import names, or None."""
    while name:
        if name in MODULES:
            return name
        name = name.rpartition(".")[0]
    return None


def within(module, prefix):
    return module == prefix or module.startswith(prefix + ".")


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("module", MODULES)
def test_imports_of_our_own_run_downwards_only(module):
    for name, line in imports_of(MODULES[module], runtime=False):
        found = ours(name)
        if found is None:
            continue
        for prefix, allowed in FLOORS.items():
            if within(module, prefix):
                assert any(within(found, floor) for floor in allowed), f"{module}:{line} imports {found}"
        if room_of(module) in TRANSFER:
            assert room_of(found) not in ABOVE_TRANSFER, f"{module}:{line} imports {found}"
        if room_of(module) == "session":
            assert room_of(found) not in {"pipeline", "cli", "viewer"}, f"{module}:{line} imports {found}"
        if room_of(module) == "pipeline":
            assert room_of(found) not in {"cli", "viewer", "demo", "info"}, f"{module}:{line} imports {found}"


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) != "viewer"])
def test_only_the_viewer_imports_what_draws_on_a_screen(module):
    for name, line in imports_of(MODULES[module], runtime=False):
        # The command line opens the viewer when it is asked to (napari-nst demo --viewer), and nothing else.
        if room_of(module) in {"cli", "demo", "info"} and name.partition(".")[0] == "napari":
            pytest.fail(f"{module}:{line} imports {name}: leave it to napari_nst.viewer")
        assert name.partition(".")[0] not in SCREEN, f"{module}:{line} imports {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if m != "napari_nst.engine._torch"])
def test_torch_is_imported_in_one_place_only(module):
    imported = [ours(name) for name, _ in imports_of(MODULES[module])]
    for name, line in imports_of(MODULES[module]):
        if name.partition(".")[0] not in ("torch", "torchvision", "triton", "safetensors"):
            continue
        guarded = "napari_nst.engine._torch" in imported
        # What lies inside of torch may be named once the guard was passed; torch itself never.
        assert name.startswith(("torch.", "torchvision.", "safetensors.")), f"{module}:{line} imports {name}"
        assert guarded, f"{module}:{line} imports {name} without the guard"


@pytest.mark.parametrize("module", MODULES)
def test_no_figure_is_made_by_global_state(module):
    names = [name for name, _ in imports_of(MODULES[module], runtime=False)]
    assert not [name for name in names if "pyplot" in name or "pylab" in name]


@pytest.mark.parametrize("module", MODULES)
def test_files_do_one_thing(module):
    lines = MODULES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= 480, f"{module} has {lines} lines; about 400 is the limit, split it"
