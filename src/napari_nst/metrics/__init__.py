"""What an enhancement did to the cones: arrays in, numbers out.

Nothing here knows a network, a file or a screen. Importing it loads NumPy only.
"""

from __future__ import annotations

from napari_nst.imaging.cones import Cones, detect_cones
from napari_nst.imaging.spacing import Ring, relative_spacing, ring_prominence
from napari_nst.metrics.agreement import Agreement, agreement, blind_lattice, invented, points_inside
from napari_nst.metrics.assessment import Assessment, Comparison, MosaicMeasures, assess
from napari_nst.metrics.audits.audits import (
    DensitySweep,
    Erased,
    PhantomTest,
    RepeatConsistency,
    StyleSwap,
    density_sweep,
    erase_cones,
    phantom_ratio,
    phantom_test,
    repeat_consistency,
    style_swap,
)
from napari_nst.metrics.changes import ConeChanges, Place, cone_changes
from napari_nst.metrics.displacement import Displacement, local_displacement
from napari_nst.metrics.matching import Matching, match_cones
from napari_nst.metrics.mosaic import Voronoi, cone_density, nearest_neighbour_spacing, voronoi_regularity
from napari_nst.metrics.noise import signal_to_noise
from napari_nst.metrics.quality import aiq
from napari_nst.metrics.similarity import intensity_monotonicity, structural_similarity, structure_correlation
from napari_nst.metrics.spectra import SpectrumChange, radial_power_spectrum, spectrum_change
from napari_nst.metrics.verdict import Verdict

__all__ = [
    "Agreement",
    "Assessment",
    "Comparison",
    "ConeChanges",
    "Cones",
    "DensitySweep",
    "Displacement",
    "Erased",
    "Matching",
    "MosaicMeasures",
    "PhantomTest",
    "Place",
    "RepeatConsistency",
    "Ring",
    "SpectrumChange",
    "StyleSwap",
    "Verdict",
    "Voronoi",
    "agreement",
    "aiq",
    "assess",
    "blind_lattice",
    "cone_changes",
    "cone_density",
    "density_sweep",
    "detect_cones",
    "erase_cones",
    "intensity_monotonicity",
    "invented",
    "local_displacement",
    "match_cones",
    "nearest_neighbour_spacing",
    "phantom_ratio",
    "phantom_test",
    "points_inside",
    "radial_power_spectrum",
    "relative_spacing",
    "repeat_consistency",
    "ring_prominence",
    "signal_to_noise",
    "spectrum_change",
    "structural_similarity",
    "structure_correlation",
    "style_swap",
    "voronoi_regularity",
]
