"""The arrows of the design, read from the import statements: imports run downwards only."""

import ast
import functools
from pathlib import Path

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
    """(module, line) of every import, those inside functions included; at run time only, unless told otherwise."""
    return _imports(path, runtime)


@functools.cache  # several tests ask every file
def _imports(path, runtime):
    return tuple(_read_imports(path, runtime))


@functools.cache
def _tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def _read_imports(path, runtime):
    tree = _tree(path)
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


# One test for each rule and not for each file, which would be hundreds: all that break it are told at once.


def test_imports_of_our_own_run_downwards_only():
    wrong = []
    for module, path in MODULES.items():
        for name, line in imports_of(path, runtime=False):
            found = ours(name)
            if found is None:
                continue
            refused = any(
                not any(within(found, floor) for floor in allowed)
                for prefix, allowed in FLOORS.items()
                if within(module, prefix)
            )
            refused |= room_of(module) in TRANSFER and room_of(found) in ABOVE_TRANSFER
            refused |= room_of(module) == "session" and room_of(found) in {"pipeline", "cli", "viewer"}
            refused |= room_of(module) == "pipeline" and room_of(found) in {"cli", "viewer", "demo", "info"}
            if refused:
                wrong.append(f"{module}:{line} imports {found}")
    assert not wrong


def test_only_the_viewer_imports_what_draws_on_a_screen():
    # The command line opens the viewer when it is asked to (napari-nst demo --viewer), by napari_nst.viewer alone.
    wrong = [
        f"{module}:{line} imports {name}: leave it to napari_nst.viewer"
        for module, path in MODULES.items()
        if room_of(module) != "viewer"
        for name, line in imports_of(path, runtime=False)
        if name.partition(".")[0] in SCREEN
    ]
    assert not wrong


def test_torch_is_imported_in_one_place_only():
    wrong = []
    for module, path in MODULES.items():
        if module == "napari_nst.engine._torch":
            continue
        guarded = "napari_nst.engine._torch" in [ours(name) for name, _ in imports_of(path)]
        for name, line in imports_of(path):
            if name.partition(".")[0] not in ("torch", "torchvision", "triton", "safetensors"):
                continue
            # What lies inside of torch may be named once the guard was passed; torch itself never.
            if not name.startswith(("torch.", "torchvision.", "safetensors.")):
                wrong.append(f"{module}:{line} imports {name}")
            if not guarded:
                wrong.append(f"{module}:{line} imports {name} without the guard")
    assert not wrong


def test_no_figure_is_made_by_global_state():
    wrong = [
        f"{module}:{line} imports {name}"
        for module, path in MODULES.items()
        for name, line in imports_of(path, runtime=False)
        if "pyplot" in name or "pylab" in name
    ]
    assert not wrong


def test_files_do_one_thing():
    lines = {module: path.read_text(encoding="utf-8").count("\n") for module, path in MODULES.items()}
    long = {module: count for module, count in lines.items() if count > 480}
    assert not long, f"{long} lines; about 400 is the limit, split them"


def test_the_rules_see_the_files_and_their_imports():
    seen = {name.partition(".")[0] for path in MODULES.values() for name, _ in imports_of(path)}
    assert len(MODULES) > 100
    assert {"torch", "napari", "matplotlib", "napari_nst"} <= seen
