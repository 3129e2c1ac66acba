"""Module paths of version 0.1, served for one release with a DeprecationWarning."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

__all__ = ["MOVED", "install"]

#: Old module: where its content lies now.
MOVED = {
    "engine.adam": "engine.optimization",
    "engine.lbfgs": "engine.optimization",
    "engine.parameters": "settings.parameters",
    "engine.presets": "settings.presets",
    "engine.layers": "settings.layers",
    "session.settings": "settings.session",
    "info": "cli.info",
    "images": "io.images",
    "images.aoslo": "io.filenames",
    "images.atomic": "io.atomic",
    "images.coordinates": "io.coordinates",
    "images.files": "io.images",
    "images.histogram": "imaging.histogram",
    "images.masks": "imaging.masks",
    "images.mosaic": "imaging.mosaic",
    "images.names": "io.filenames",
    "images.padding": "imaging.padding",
    "images.planes": "imaging.planes",
    "images.range_correction": "imaging.range_correction",
    "images.reading": "io.images",
    "images.spectrum": "imaging.spectrum",
    "images.trust": "imaging.trust_region",
    "images.values": "imaging.values",
    "images.writing": "io.images",
    "metrics.cones": "imaging.cones",
    # Not metrics.agreement, now metrics.matching: the module would hide the function of that name.
    "metrics.erasing": "metrics.audits.phantoms",
    "metrics.noise": "metrics.quality",
    "metrics.phantoms": "metrics.audits.phantoms",
    "metrics.relative_spacing": "imaging.spacing",
    "metrics.ring": "imaging.spacing",
    "metrics.similarity": "metrics.comparison",
    "metrics.spectra": "metrics.comparison",
    "metrics.support": "metrics.changes",
    "metrics.sweeping": "metrics.audits.density_bias",
    "outputs": "transfer.files",
    "pipeline": "documented.nst",
    "plots": "transfer.curves",
    "record": "transfer.record",
    "results": "transfer.result",
    "session.continuing": "session.planning",
    "session.markers": "session.quality",
    "session.methods": "methods",
    "session.overlap": "session.registration",
    "session.patches": "session.cropping",
    "session.preprocessor": "documented.mdrnn",
    "session.replanning": "session.planning",
    "session.stitching": "session.cropping",
    "session.tables": "io.tables",
    "viewer.widget": "viewer.transfer.widget",
    "viewer.assess_widget": "viewer.assessment.widget",
    "viewer.session_widget": "viewer.session.widget",
}


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module under its old name, and loads the one that took its place."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, old = fullname.partition(".")
        if package != __package__ or old not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        new = f"{__package__}.{MOVED[spec.name.partition('.')[2]]}"
        warnings.warn(
            f"{spec.name} is now {new}; the old path goes with the next release.", DeprecationWarning, stacklevel=2
        )
        old = ModuleType(spec.name)
        old.__dict__.update({k: v for k, v in vars(importlib.import_module(new)).items() if k not in _OWN})
        old.__path__ = []  # submodules of an old package are looked up in the table too
        return old

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module was filled when it was made."""


#: What a module keeps of its own.
_OWN = {"__name__", "__loader__", "__package__", "__spec__", "__path__", "__file__", "__cached__"}


def install() -> None:
    """Serve the old paths: asked last, after every other finder."""
    if not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        sys.meta_path.append(_Alias())
