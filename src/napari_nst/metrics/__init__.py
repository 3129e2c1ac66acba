"""What an enhancement did to the cones: arrays in, numbers out.

Everything here is loaded when it is first used; what it offers stands in ``__init__.pyi``.
"""

import warnings
from typing import Any

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

#: Names of version 0.1, served for one release.
_RENAMED = {
    "DensitySweep": "DensityBias",
    "RepeatConsistency": "Repeatability",
    "StyleSwap": "StyleAgreement",
    "blind_lattice": "random_lattice",
    "density_sweep": "density_bias",
    "repeat_consistency": "repeatability",
    "style_swap": "style_agreement",
}


def __getattr__(name: str) -> Any:
    new = _RENAMED.get(name)
    if new is not None:
        text = f"{__name__}.{name} is now {new}; the old name goes with the next release."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
    return _load(new or name)
