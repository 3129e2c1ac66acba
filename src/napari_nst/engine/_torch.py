"""The one place where torch is imported, behind a guard for processes that draw with OpenGL.

On Linux, Mesa's OpenGL driver and triton each bring a copy of LLVM.  Once a viewer has drawn, whatever imports
``torch._dynamo`` (torchvision, the first optimizer step) imports triton, whose symbols then resolve into Mesa's LLVM:
the process dies of a segmentation fault.  Loading triton's library with ``RTLD_DEEPBIND`` before that makes it prefer
its own symbols, and ``torch.compile`` stays usable.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from napari_nst.errors import EngineError

_TRITON_LIBRARY = "triton._C.libtriton"


def load_triton_apart() -> bool:
    """Load triton's library with its symbols kept apart from the OpenGL driver's; tell whether there was a need."""
    if sys.platform != "linux" or _TRITON_LIBRARY in sys.modules or not hasattr(os, "RTLD_DEEPBIND"):
        return False
    # Asking for the library by its dotted name would import the package around it, and so load it in the usual way.
    if importlib.util.find_spec("triton") is None:
        return False
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        importlib.import_module(_TRITON_LIBRARY)
    except ImportError:
        return False  # A triton that cannot be loaded cannot clash; torch does without it.
    finally:
        sys.setdlopenflags(flags)
    return True


load_triton_apart()
try:
    import torch
    import torch.nn.functional as F
    from torch.nn.grad import conv2d_input
    from torch.optim.adam import adam
except OSError as error:  # Windows: "WinError 1114 ... c10.dll" when torch comes after Qt (pytorch#166628)
    raise EngineError(
        f"PyTorch could not be loaded: {error}. On Windows, install the Microsoft Visual C++ redistributable, and start "
        'napari with: python -c "import torch, napari; napari.Viewer(); napari.run()", so that torch is loaded first.'
    ) from error

__all__ = ["F", "adam", "conv2d_input", "load_triton_apart", "torch"]
