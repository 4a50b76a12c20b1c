"""What the ground is made of: surfaces, their reflectance in twelve bands, and how land cover is mixed from them."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""Bands of a Sentinel-2 L2A product: all but the cirrus band B10."""

PIXEL_M = dict.fromkeys(("B02", "B03", "B04", "B08"), 10) | dict.fromkeys(("B01", "B09"), 60)
PIXEL_M |= {b: 20 for b in (*BANDS, "SCL") if b not in PIXEL_M}
"""Native pixel size of each band and of the scene classification, metres."""


class Surface(enum.IntEnum):
    """One kind of ground."""

    WATER = 0
    TURBID_WATER = 1
    CONIFER = 2
    BROADLEAF = 3
    EVERGREEN_BROADLEAF = 4
    SHRUB = 5
    GRASS = 6
    WINTER_CROP = 7
    SUMMER_CROP = 8
    PADDY = 9
    WETLAND = 10
    BARE = 11
    SAND = 12
    ASPHALT = 13
    ROOF_RED = 14
    ROOF_GREY = 15
    ROOF_WHITE = 16
    GARDEN = 17
    ICE = 18
    CUT_FOREST = 19
    RAW_GROUND = 20


GROUPS = {
    "water": (Surface.WATER, Surface.TURBID_WATER),
    "conifer forest": (Surface.CONIFER,),
    "broadleaf forest": (Surface.BROADLEAF, Surface.EVERGREEN_BROADLEAF),
    "shrub": (Surface.SHRUB,),
    "grass": (Surface.GRASS, Surface.WETLAND),
    "crop": (Surface.WINTER_CROP, Surface.SUMMER_CROP, Surface.PADDY),
    "bare": (Surface.BARE, Surface.SAND, Surface.CUT_FOREST, Surface.RAW_GROUND),
    "built": (Surface.ASPHALT, Surface.ROOF_RED, Surface.ROOF_GREY, Surface.ROOF_WHITE, Surface.GARDEN),
    "ice": (Surface.ICE,),
}
"""Surfaces by the name of the class that a patch is labelled with."""

CLASSES = tuple(GROUPS)


def spectrum(*values: float) -> np.ndarray:
    """Return twelve reflectances as an array."""
    assert len(values) == len(BANDS)
    return np.array(values, np.float32)


# Surface reflectance. Medians measured on the Sentinel-2 sites of docs/planet.md (bench/planet_calibration.py measures
# them again); bands and surfaces that no site shows are interpolated, or general knowledge of published spectra.
SPECTRA = {
    "conifer": spectrum(0.022, 0.025, 0.042, 0.029, 0.058, 0.150, 0.190, 0.208, 0.225, 0.225, 0.115, 0.055),
    "conifer in winter": spectrum(
        0.020, 0.023, 0.033, 0.028, 0.046, 0.108, 0.133, 0.143, 0.153, 0.155, 0.080, 0.040
    ),
    "leaf": spectrum(0.024, 0.027, 0.053, 0.030, 0.083, 0.290, 0.390, 0.415, 0.440, 0.435, 0.178, 0.074),
    "leafless": spectrum(0.025, 0.028, 0.040, 0.049, 0.070, 0.113, 0.138, 0.153, 0.170, 0.180, 0.150, 0.085),
    "autumn leaf": spectrum(
        0.026, 0.030, 0.050, 0.062, 0.110, 0.200, 0.245, 0.262, 0.280, 0.285, 0.160, 0.075
    ),
    "grass": spectrum(0.024, 0.030, 0.062, 0.036, 0.094, 0.295, 0.365, 0.385, 0.405, 0.400, 0.180, 0.088),
    "dry grass": spectrum(0.055, 0.070, 0.101, 0.126, 0.160, 0.220, 0.260, 0.295, 0.335, 0.340, 0.340, 0.215),
    "crop": spectrum(0.033, 0.040, 0.074, 0.050, 0.100, 0.300, 0.385, 0.405, 0.420, 0.415, 0.205, 0.105),
    "stubble": spectrum(0.072, 0.093, 0.133, 0.160, 0.193, 0.240, 0.275, 0.310, 0.360, 0.360, 0.360, 0.250),
    "dark soil": spectrum(0.040, 0.049, 0.065, 0.080, 0.093, 0.108, 0.120, 0.132, 0.150, 0.158, 0.215, 0.170),
    "bright soil": spectrum(
        0.070, 0.095, 0.135, 0.180, 0.198, 0.220, 0.243, 0.262, 0.290, 0.298, 0.385, 0.300
    ),
    "shrub": spectrum(0.033, 0.042, 0.070, 0.062, 0.105, 0.220, 0.275, 0.302, 0.335, 0.335, 0.210, 0.115),
    "dry shrub": spectrum(0.045, 0.056, 0.081, 0.098, 0.130, 0.205, 0.250, 0.285, 0.340, 0.340, 0.275, 0.165),
    "marsh": spectrum(0.023, 0.026, 0.042, 0.030, 0.064, 0.125, 0.148, 0.160, 0.175, 0.172, 0.085, 0.042),
    "dry marsh": spectrum(0.027, 0.030, 0.039, 0.047, 0.056, 0.066, 0.072, 0.078, 0.085, 0.084, 0.070, 0.045),
    "sand": spectrum(0.115, 0.172, 0.260, 0.345, 0.358, 0.384, 0.404, 0.405, 0.416, 0.410, 0.488, 0.428),
    "rock": spectrum(0.095, 0.110, 0.135, 0.160, 0.172, 0.184, 0.195, 0.205, 0.215, 0.220, 0.260, 0.230),
    "asphalt": spectrum(0.075, 0.090, 0.105, 0.118, 0.130, 0.142, 0.150, 0.158, 0.164, 0.168, 0.175, 0.158),
    "red roof": spectrum(0.060, 0.072, 0.103, 0.175, 0.205, 0.228, 0.245, 0.262, 0.278, 0.283, 0.315, 0.265),
    "grey roof": spectrum(0.080, 0.103, 0.125, 0.132, 0.138, 0.148, 0.158, 0.163, 0.168, 0.170, 0.170, 0.145),
    "white roof": spectrum(
        0.250, 0.350, 0.415, 0.465, 0.460, 0.472, 0.482, 0.490, 0.485, 0.470, 0.480, 0.370
    ),
    "clear water": spectrum(
        0.022, 0.019, 0.019, 0.012, 0.011, 0.010, 0.010, 0.010, 0.009, 0.008, 0.006, 0.004
    ),
    "turbid water": spectrum(
        0.028, 0.036, 0.055, 0.050, 0.044, 0.028, 0.027, 0.024, 0.023, 0.018, 0.014, 0.010
    ),
    "snow": spectrum(0.920, 0.930, 0.920, 0.910, 0.900, 0.880, 0.870, 0.850, 0.830, 0.720, 0.120, 0.100),
    "ice": spectrum(0.680, 0.700, 0.700, 0.680, 0.650, 0.600, 0.560, 0.520, 0.480, 0.380, 0.050, 0.040),
    "cloud": spectrum(0.780, 0.760, 0.730, 0.710, 0.720, 0.730, 0.740, 0.735, 0.730, 0.550, 0.240, 0.170),
    "cirrus": spectrum(0.550, 0.530, 0.500, 0.480, 0.470, 0.460, 0.455, 0.450, 0.445, 0.400, 0.250, 0.180),
    # A jungle is darker than a temperate wood in leaf: general knowledge.
    "jungle": spectrum(0.018, 0.022, 0.046, 0.025, 0.075, 0.265, 0.345, 0.365, 0.385, 0.380, 0.155, 0.060),
    # What the atmospheric correction leaves behind, at full strength: general knowledge.
    "haze": spectrum(0.045, 0.036, 0.024, 0.016, 0.013, 0.010, 0.009, 0.007, 0.006, 0.005, 0.002, 0.001),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cover:
    """How a surface looks over the year.

    Attributes:
        green, dry: spectra of its plants in leaf and out of it.
        soil: dark or bright soil below; one for all variants, or `mixed` between both.
        cover: share of the ground that plants cover.
        cycle: how it follows the region's green season: `tree` (leaf on, leaf off), `evergreen`, `meadow` (as the season
            goes), `winter crop` and `summer crop` (sown, green, ripe, harvested), `none`.
        variety: relative brightness differences between parcels.
        texture: relative brightness differences within a parcel.
        height_m: height that casts a shadow.
        snow: share of a full snow cover that shows.
    """

    green: str
    dry: str
    soil: str = "dark soil"
    cover: float = 1.0
    cycle: str = "none"
    variety: float = 0.1
    texture: float = 0.05
    height_m: float = 0.0
    snow: float = 1.0


COVERS = {
    Surface.WATER: Cover(green="clear water", dry="clear water", variety=0.15, texture=0.02, snow=0.0),
    Surface.TURBID_WATER: Cover(green="turbid water", dry="clear water", variety=0.2, texture=0.03, snow=0.0),
    Surface.CONIFER: Cover(
        green="conifer",
        dry="conifer in winter",
        cover=0.97,
        cycle="evergreen",
        variety=0.2,
        texture=0.2,
        height_m=16,
        snow=0.4,
    ),
    Surface.BROADLEAF: Cover(
        green="leaf",
        dry="leafless",
        cover=0.95,
        cycle="tree",
        variety=0.15,
        texture=0.16,
        height_m=14,
        snow=0.6,
    ),
    Surface.EVERGREEN_BROADLEAF: Cover(
        green="jungle",
        dry="autumn leaf",
        cover=0.98,
        cycle="evergreen",
        variety=0.08,
        texture=0.13,
        height_m=20,
        snow=0.5,
    ),
    Surface.SHRUB: Cover(
        green="shrub",
        dry="dry shrub",
        soil="mixed",
        cover=0.9,
        cycle="meadow",
        texture=0.18,
        height_m=1,
        snow=0.8,
        variety=0.2,
    ),
    Surface.GRASS: Cover(
        green="grass", dry="dry grass", soil="mixed", cover=0.9, cycle="meadow", texture=0.1, variety=0.18
    ),
    Surface.WINTER_CROP: Cover(
        green="crop", dry="stubble", soil="mixed", cover=0.95, cycle="winter crop", texture=0.06, variety=0.18
    ),
    Surface.SUMMER_CROP: Cover(
        green="crop", dry="stubble", soil="mixed", cover=0.95, cycle="summer crop", texture=0.06, variety=0.18
    ),
    Surface.PADDY: Cover(
        green="crop", dry="turbid water", soil="dark soil", cover=0.9, cycle="summer crop", texture=0.04
    ),
    Surface.WETLAND: Cover(green="marsh", dry="dry marsh", cover=0.95, cycle="meadow", texture=0.1),
    Surface.BARE: Cover(
        green="shrub", dry="dry grass", soil="mixed", cover=0.12, cycle="meadow", variety=0.2, texture=0.1
    ),
    Surface.SAND: Cover(green="sand", dry="sand", soil="sand", cover=0.0, variety=0.12, texture=0.05),
    Surface.ASPHALT: Cover(green="asphalt", dry="asphalt", variety=0.25, texture=0.12, snow=0.4),
    Surface.ROOF_RED: Cover(
        green="red roof", dry="red roof", variety=0.25, texture=0.08, height_m=8, snow=0.9
    ),
    Surface.ROOF_GREY: Cover(
        green="grey roof", dry="grey roof", variety=0.3, texture=0.08, height_m=12, snow=0.9
    ),
    Surface.ROOF_WHITE: Cover(
        green="white roof", dry="white roof", variety=0.2, texture=0.06, height_m=9, snow=0.9
    ),
    Surface.GARDEN: Cover(
        green="grass",
        dry="dry grass",
        soil="mixed",
        cover=0.85,
        cycle="meadow",
        variety=0.2,
        texture=0.2,
        height_m=2,
        snow=0.8,
    ),
    Surface.ICE: Cover(green="ice", dry="ice", variety=0.06, texture=0.04),
    Surface.CUT_FOREST: Cover(
        green="grass", dry="leafless", soil="mixed", cover=0.35, cycle="meadow", texture=0.12
    ),
    Surface.RAW_GROUND: Cover(
        green="bright soil", dry="bright soil", soil="bright soil", cover=0.0, variety=0.15, texture=0.08
    ),
}

CONIFER, BROADLEAF, JUNGLE, SHRUB, GRASS, WETLAND, BARE, SAND, ICE, FARM, TOWN = range(11)
PARTS = ("conifer", "broadleaf", "jungle", "shrub", "grass", "wetland", "bare", "sand", "ice", "farm", "town")
"""What a block of land can be: wild in nine ways, farmland or town."""

# Shares of PARTS by MODIS IGBP class 0-16, from the classes' own definitions (Loveland and Belward 1997: tree cover of
# 60% and more in forests, 30-60% in woody savannas, 10-30% in savannas, and so on).
MIXTURES = np.array(
    [
        # con   bro   jun   shr   gra   wet   bar   san   ice  farm  town
        [0.05, 0.10, 0.05, 0.10, 0.20, 0.30, 0.05, 0.15, 0.00, 0.00, 0.00],  # water: its shores
        [0.78, 0.07, 0.00, 0.04, 0.04, 0.02, 0.01, 0.00, 0.00, 0.03, 0.01],  # evergreen needleleaf forest
        [0.00, 0.05, 0.80, 0.04, 0.03, 0.02, 0.00, 0.00, 0.00, 0.05, 0.01],  # evergreen broadleaf forest
        [0.70, 0.12, 0.00, 0.06, 0.05, 0.04, 0.01, 0.00, 0.00, 0.01, 0.01],  # deciduous needleleaf forest
        [0.06, 0.72, 0.00, 0.04, 0.05, 0.01, 0.00, 0.00, 0.00, 0.10, 0.02],  # deciduous broadleaf forest
        [0.35, 0.40, 0.00, 0.04, 0.06, 0.02, 0.00, 0.00, 0.00, 0.11, 0.02],  # mixed forest
        [0.03, 0.08, 0.00, 0.62, 0.12, 0.00, 0.07, 0.00, 0.00, 0.06, 0.02],  # closed shrubland
        [0.00, 0.01, 0.00, 0.42, 0.14, 0.00, 0.32, 0.07, 0.00, 0.03, 0.01],  # open shrubland
        [0.10, 0.32, 0.04, 0.12, 0.26, 0.02, 0.02, 0.00, 0.00, 0.10, 0.02],  # woody savanna
        [0.02, 0.18, 0.02, 0.16, 0.42, 0.02, 0.04, 0.00, 0.00, 0.12, 0.02],  # savanna
        [0.02, 0.03, 0.00, 0.09, 0.62, 0.02, 0.08, 0.00, 0.00, 0.12, 0.02],  # grassland
        [0.08, 0.10, 0.04, 0.08, 0.14, 0.52, 0.00, 0.00, 0.00, 0.03, 0.01],  # permanent wetland
        [0.01, 0.06, 0.00, 0.02, 0.07, 0.01, 0.01, 0.00, 0.00, 0.77, 0.05],  # cropland
        [0.01, 0.07, 0.01, 0.02, 0.06, 0.00, 0.02, 0.00, 0.00, 0.09, 0.72],  # urban and built-up
        [0.04, 0.18, 0.04, 0.07, 0.15, 0.01, 0.00, 0.00, 0.00, 0.47, 0.04],  # cropland and natural mosaic
        [0.00, 0.00, 0.00, 0.00, 0.02, 0.00, 0.18, 0.00, 0.80, 0.00, 0.00],  # snow and ice
        [0.00, 0.00, 0.00, 0.06, 0.03, 0.00, 0.52, 0.37, 0.00, 0.01, 0.01],  # barren
    ],
    np.float32,
)
