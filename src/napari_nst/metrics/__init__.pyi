from ._bands import Cones, Ring, detect_cones, radial_power_spectrum, relative_spacing, ring_prominence
from .annotations import Annotations
from .assessment import Assessment, MosaicMeasures, assess
from .audits.density_bias import DensityBias, density_bias
from .audits.phantoms import Erased, PhantomTest, erase_cones, phantom_ratio, phantom_test
from .audits.repeatability import Repeatability, repeatability
from .audits.style_agreement import StyleAgreement, style_agreement
from .changes import ConeChanges, Place, cone_changes
from .comparison import (
    Comparison,
    SpectrumChange,
    intensity_monotonicity,
    spectrum_change,
    structural_similarity,
    structure_correlation,
)
from .displacement import Displacement, local_displacement
from .matching import Agreement, Matching, agreement, invented, match_cones, points_inside, random_lattice
from .mosaic import Voronoi, cone_density, nearest_neighbour_spacing, voronoi_regularity
from .quality import aiq, signal_to_noise
from .verdict import Verdict

__all__ = [
    "Agreement",
    "Annotations",
    "Assessment",
    "Comparison",
    "ConeChanges",
    "Cones",
    "DensityBias",
    "Displacement",
    "Erased",
    "Matching",
    "MosaicMeasures",
    "PhantomTest",
    "Place",
    "Repeatability",
    "Ring",
    "SpectrumChange",
    "StyleAgreement",
    "Verdict",
    "Voronoi",
    "agreement",
    "aiq",
    "assess",
    "cone_changes",
    "cone_density",
    "density_bias",
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
    "random_lattice",
    "relative_spacing",
    "repeatability",
    "ring_prominence",
    "signal_to_noise",
    "spectrum_change",
    "structural_similarity",
    "structure_correlation",
    "style_agreement",
    "voronoi_regularity",
]
