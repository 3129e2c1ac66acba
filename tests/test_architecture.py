"""What each package may import, read from the import statements: an allow-list, without import cycles."""

import ast
import functools
import graphlib
from pathlib import Path

import pytest

import napari_nst

ROOT = Path(napari_nst.__file__).parent
MODULES = {
    ".".join(("napari_nst", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
SCREEN = {"napari", "magicgui", "qtpy", "superqt", "npe2", "PyQt5", "PyQt6", "PySide6", "vispy"}

#: Every package and module at the top, from the lowest to the highest, and what it may import of the others.
ALLOWED = {
    "errors": "",
    "palette": "",
    "_moved": "",
    "settings": "errors palette",
    "imaging": "settings errors palette",
    "io": "imaging settings errors palette",
    "metrics": "imaging io errors palette",
    "engine": "settings imaging errors",
    "transfer": "engine imaging io settings errors palette",
    "methods": "transfer engine imaging settings errors",
    "session": "methods metrics transfer engine io imaging settings errors palette",
    "documented": "session methods transfer metrics engine imaging io settings errors",
    "benchmark": "transfer engine imaging io settings errors palette",
    "demo": "transfer metrics engine imaging io settings errors palette",
    "viewer": "demo session methods metrics transfer engine io imaging settings errors palette",
    "cli": "viewer demo benchmark documented session methods metrics transfer engine io imaging settings errors palette",
    "__main__": "cli",
    # Public names are loaded when they are first used: the stub beside it says from where.
    "": "_moved",
}
RULES = {package: set(others.split()) | {package} for package, others in ALLOWED.items()}


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
            # "from napari_nst.imaging import masks" may name a module, too
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def ours(name):
    """The module of ours that an import names, or None."""
    while name:
        if name in MODULES:
            return name
        name = name.rpartition(".")[0]
    return None


def package_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


# One test for each rule and not for each file, which would be hundreds: all that break it are reported at once.


def test_every_package_is_known():
    assert {package_of(module) for module in MODULES} == set(RULES), "say in ALLOWED what a new package may import"


def test_packages_import_what_they_may():
    wrong = []
    for module, path in MODULES.items():
        for name, line in imports_of(path, runtime=False):
            found = ours(name)
            # the version is asked of the package itself
            if found and name != "napari_nst.__version__" and package_of(found) not in RULES[package_of(module)]:
                wrong.append(f"{module}:{line} imports {found}")
    assert not wrong


def test_the_allow_list_has_no_cycle():
    tuple(graphlib.TopologicalSorter({k: v - {k} for k, v in RULES.items()}).static_order())


def test_modules_import_each_other_without_cycles():
    graph = {
        module: {found for name, _ in imports_of(path, runtime=False) if (found := ours(name)) and found != module}
        for module, path in MODULES.items()
    }
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(reversed(error.args[1]))}")


def test_few_names_stand_at_the_top():
    assert len(set(RULES) - {""}) <= 18


def test_only_the_viewer_imports_what_draws_on_a_screen():
    # The command line opens the viewer when it is asked to (napari-nst demo --viewer), by napari_nst.viewer alone.
    wrong = [
        f"{module}:{line} imports {name}: leave it to napari_nst.viewer"
        for module, path in MODULES.items()
        if package_of(module) != "viewer"
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


def test_the_rules_see_the_files_and_their_imports():
    seen = {name.partition(".")[0] for path in MODULES.values() for name, _ in imports_of(path)}
    assert len(MODULES) > 60
    assert {"torch", "napari", "matplotlib", "napari_nst"} <= seen
