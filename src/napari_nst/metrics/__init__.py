"""What an enhancement did to the cones: arrays in, numbers out.

Nothing here knows a network, a file or a screen. Importing it loads NumPy only.
"""

from __future__ import annotations

from napari_nst.metrics.agreement import Agreement, agreement, blind_lattice, invented, points_inside
from napari_nst.metrics.cones import Cones, detect_cones
from napari_nst.metrics.matching import Matching, match_cones
from napari_nst.metrics.mosaic import cone_density, nearest_neighbour_spacing
from napari_nst.metrics.quality import aiq
from napari_nst.metrics.ring import Ring, ring_prominence
from napari_nst.metrics.similarity import intensity_monotonicity, structural_similarity, structure_correlation

__all__ = [
    "Agreement",
    "Cones",
    "Matching",
    "Ring",
    "agreement",
    "aiq",
    "blind_lattice",
    "cone_density",
    "detect_cones",
    "intensity_monotonicity",
    "invented",
    "match_cones",
    "nearest_neighbour_spacing",
    "points_inside",
    "ring_prominence",
    "structural_similarity",
    "structure_correlation",
]
