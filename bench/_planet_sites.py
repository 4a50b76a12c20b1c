"""Real Sentinel-2 series and scenes as arrays of reflectance with a class a pixel: what the planet is measured against."""

from __future__ import annotations

import dataclasses
import datetime
import re
import zipfile
from pathlib import Path

import numpy as np
import rasterio

from seco.data.netcdf import open_netcdf

WORLDCOVER = {
    10: "tree", 20: "shrub", 30: "grass", 40: "crop", 50: "built", 60: "bare", 70: "snow", 80: "water", 90: "wetland",
}  # fmt: skip
OSCD = "Onera Satellite Change Detection dataset - Images"
ALL_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """One place at several dates.

    Attributes:
        name: what it is called in tables.
        lon, lat: degrees.
        gsd_m: edge of a pixel.
        bands: names.
        dates: one a time step.
        reflectance: (time, band, row, column), NaN where the ground is hidden.
        classes: (time, row, column) or (row, column), indices of `names`, -1 where no class is known.
        names: the class names.
        level: `L2A` (surface) or `L1C` (top of atmosphere).
    """

    name: str
    lon: float
    lat: float
    gsd_m: float
    bands: tuple[str, ...]
    dates: tuple[datetime.date, ...]
    reflectance: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    level: str = "L2A"

    def band(self, name: str) -> np.ndarray:
        """Return one band, (time, row, column)."""
        return self.reflectance[:, self.bands.index(name)]

    def of_class(self, index: int) -> np.ndarray:
        """Return where a class lies, bool (time, row, column)."""
        shape = (len(self.dates), *self.reflectance.shape[2:])
        return np.broadcast_to(self.classes == index, shape)

    @property
    def ndvi(self) -> np.ndarray:
        """(NIR - red) / (NIR + red), with B8A where there is no B08, (time, row, column)."""
        red, nir = self.band("B04"), self.band("B08" if "B08" in self.bands else "B8A")
        return (nir - red) / np.maximum(nir + red, 1e-3)


def greenearthnet(folder: Path) -> list[Site]:
    """Read the GreenEarthNet cubes: four bands at 20 m, only pixels that its cloud mask calls clear.

    In its mask 2 is thin cloud (0.04-0.09 brighter in the visible than the pixel's own clear median) and 3 shadow (B8A
    0.1-0.2 darker): both hide the ground. No date has snow to speak of.
    """
    sites = []
    for path in sorted(folder.glob("*.nc")):
        with open_netcdf(str(path)) as file:
            steps = np.flatnonzero(file["s2_avail"][:] == 1)
            start = datetime.datetime.strptime(file["time"].units.split()[2], "%Y-%m-%d").replace(
                tzinfo=datetime.UTC
            )
            mask = file["s2_dlmask"][:][steps]
            bands = ("B02", "B03", "B04", "B8A")
            planes = []
            for band in bands:
                variable = file[f"s2_{band}"]
                stored = variable[:][steps].astype(np.float32)
                values = stored * np.float32(variable.scale_factor) + np.float32(variable.add_offset)
                planes.append(np.where((stored == -32767) | (mask != 0), np.nan, values))
            cover = file["esawc_lc"][:]
            days = [(start + datetime.timedelta(days=int(d))).date() for d in file["time"][:][steps]]
            lat, lon = float(np.mean(file["lat"][:])), float(np.mean(file["lon"][:]))
        # Codes between the known ones are averages of neighbours.
        ground = np.full(cover.shape, -1)
        for i, code in enumerate(WORLDCOVER):
            ground[cover == code] = i
        sites.append(
            Site(
                name=path.stem.split("cube_")[1], lon=lon, lat=lat, gsd_m=20.0, bands=bands, dates=tuple(days),
                reflectance=np.stack(planes, 1), classes=ground,
                names=tuple(WORLDCOVER.values()),
            )
        )  # fmt: skip
    return sites


FELLED = datetime.date(2019, 3, 1)
"""From here on the cluster of spruces that died and were felled is no forest (its August NDVI drops)."""


def theia(path: Path) -> Site:
    """Read the Theia series: six bands brought to 20 m, clear pixels; classes are clusters of the pixels' year."""
    with zipfile.ZipFile(path) as archive:
        masks = sorted(n for n in archive.namelist() if n.endswith("_CLM_R2.tif"))
    bands, frames, days = ("B02", "B03", "B04", "B8A", "B11", "B12"), [], []
    for mask in masks:
        planes = []
        for band in bands:
            name = "B8A" if band == "B8A" else f"B{int(band[1:])}"
            planes.append(_to_20m(_read(path, mask.replace("MASKS/", "").replace("CLM_R2", f"FRE_{name}"))))
        frame = np.stack(planes).astype(np.float32)
        hidden = (_read(path, mask) != 0) | (frame < -0.05 * 10_000).any(axis=0)
        frames.append(np.where(hidden, np.nan, frame / 10_000))
        found = re.search(r"_(\d{8})-", mask)
        assert found is not None
        days.append(datetime.datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=datetime.UTC).date())
    series = np.stack(frames)
    ground = _clusters(series, days, bands)
    classes = np.repeat(ground[None], len(days), axis=0)
    classes[np.array(days) >= FELLED] = np.where(ground == 1, len(CLUSTERS), ground)
    names = (*CLUSTERS, "spruce, dead or felled")
    return Site(
        name="T31UFQ", lon=5.34, lat=49.27, gsd_m=20.0, bands=bands, dates=tuple(days), reflectance=series,
        classes=classes, names=names,
    )  # fmt: skip


CLUSTERS = ("spruce, some broadleaf", "spruce", "broadleaf forest", "open or young broadleaf")
"""What the clusters look like, in order of the amplitude of their NDVI (spruce second: it was felled)."""


def _clusters(series: np.ndarray, days: list[datetime.date], bands: tuple[str, ...]) -> np.ndarray:
    """Cluster pixels by NDVI and infrared of every second month, in order of rising amplitude of NDVI."""
    from sklearn.cluster import KMeans

    red, nir, swir = (series[:, bands.index(b)] for b in ("B04", "B8A", "B11"))
    ndvi = (nir - red) / np.maximum(nir + red, 1e-3)
    month = np.array([(d.month - 1) // 2 for d in days])
    features = []
    for i in range(6):
        features += [np.nanmedian(ndvi[month == i], axis=0), 3 * np.nanmedian(swir[month == i], axis=0)]
    stack = np.stack(features).reshape(len(features), -1).T
    good = np.isfinite(stack).all(axis=1)
    count = len(CLUSTERS)
    labels = np.full(len(stack), count)
    labels[good] = KMeans(count, n_init=10, random_state=0).fit_predict(stack[good])
    amplitude = [np.ptp(np.median(stack[labels == i, 0::2], axis=0)) for i in range(count)]
    back = np.full(count + 1, -1)
    back[np.argsort(amplitude)] = np.arange(count)
    return back[labels].reshape(series.shape[2:])


def tile(folder: Path) -> Site:
    """Read the whole tile at 60 m; classes are those of its SCL. Its numbers carry +1,000 (baseline from 04.00 on)."""
    bands = ("B02", "B03", "B04", "B8A", "B11")
    planes, scl = [], None
    for name in (*bands, "SCL"):
        (path,) = folder.glob(f"*_{name}_60m.jp2")
        with rasterio.open(path) as file:
            read = file.read(1)
        if name == "SCL":
            scl = read
        else:
            planes.append(np.where(read == 0, np.nan, (read.astype(np.float32) - 1000) / 10_000))
    assert scl is not None
    from seco.sensors.sentinel2 import SCL_CLASSES

    return Site(
        name="T29UNU", lon=-8.2, lat=52.7, gsd_m=60.0, bands=bands, dates=(datetime.date(2022, 10, 5),),
        reflectance=np.stack(planes)[None], classes=scl.astype(int), names=SCL_CLASSES,
    )  # fmt: skip


def top_of_atmosphere(ssl4eo: Path, oscd: Path) -> list[Site]:
    """Read the 13-band scenes (L1C, top of atmosphere), nearest neighbour to 10 m; classes by simple rules."""
    sites = []
    with zipfile.ZipFile(ssl4eo) as archive:
        folders = sorted({n.rsplit("/", 1)[0] for n in archive.namelist() if n.endswith("B2.tif")})
    for folder in folders:
        found = re.search(r"/(\d{8})T", folder)
        assert found is not None
        members = {b: f"{folder}/{_short(b)}.tif" for b in ALL_BANDS}
        sites.append(_scene(ssl4eo, members, "ssl4eo " + folder.split("/")[1], found[1], (-41.0, -18.0)))
    for city, split, days, at in (
        ("bercy", "train", ("20161130", "20170829"), (2.38, 48.84)),
        ("dubai", "test", ("20151211", "20180330"), (55.22, 25.04)),
    ):
        for i, day in enumerate(days, 1):
            members = {b: f"{OSCD}/{split}/imgs_{i}_rect/{b}.tif" for b in ALL_BANDS}
            sites.append(_scene(oscd, members, f"oscd {city} {day}", day, at))
    return sites


def _scene(path: Path, members: dict[str, str], name: str, day: str, at: tuple[float, float]) -> Site:
    planes = {b: _read(path, m).astype(np.float32) / 10_000 for b, m in members.items()}
    height, width = planes["B02"].shape
    full = np.stack(
        [
            np.kron(p, np.ones((height // p.shape[0],) * 2, np.float32))[:height, :width]
            for p in planes.values()
        ]
    )
    return Site(
        name=name, lon=at[0], lat=at[1], gsd_m=10.0, bands=ALL_BANDS,
        dates=(datetime.datetime.strptime(day, "%Y%m%d").replace(tzinfo=datetime.UTC).date(),),
        reflectance=full[None], classes=rough_classes(full), names=ROUGH, level="L1C",
    )  # fmt: skip


ROUGH = (
    "vegetation",
    "sparse green",
    "water",
    "dark built or shadow",
    "grey built",
    "white roof",
    "red roof or soil",
    "sand",
)
DARK_PERCENTILE = 0.5
CLEAR_SKY = {
    # Path reflectance and two-way transmission (gases too) of a clear sky, sun 45 degrees high, little aerosol: round
    # numbers of general knowledge, good to a fifth of the path. B09 sits in the water vapour band.
    "B01": (0.125, 0.80), "B02": (0.088, 0.84), "B03": (0.050, 0.86), "B04": (0.030, 0.91), "B05": (0.025, 0.93),
    "B06": (0.020, 0.93), "B07": (0.017, 0.95), "B08": (0.013, 0.94), "B8A": (0.011, 0.97), "B09": (0.003, 0.38),
    "B10": (0.001, 0.02), "B11": (0.003, 0.95), "B12": (0.002, 0.92),
}  # fmt: skip


def rough_classes(toa: np.ndarray) -> np.ndarray:
    """Sort pixels by simple rules on dark-object-subtracted reflectance; -1 where no rule fits."""
    clean = subtract_haze(toa)
    b = {n: clean[i] for i, n in enumerate(ALL_BANDS)}
    ndvi = (b["B08"] - b["B04"]) / np.maximum(b["B08"] + b["B04"], 1e-3)
    ndwi = (b["B03"] - b["B08"]) / np.maximum(b["B03"] + b["B08"], 1e-3)
    visible = (b["B02"] + b["B03"] + b["B04"]) / 3
    redness = b["B04"] / np.maximum(b["B02"], 1e-3)
    out = np.full(ndvi.shape, -1)
    rules = (
        ndvi > 0.5,
        (ndvi > 0.25) & (ndvi <= 0.5),
        (ndwi > 0) & (b["B11"] < 0.06),
        (ndvi < 0.2) & (visible < 0.07),
        (ndvi < 0.2) & (visible >= 0.09) & (visible < 0.2) & (redness < 1.35),
        (ndvi < 0.2) & (visible >= 0.3) & (redness < 1.4),
        (ndvi < 0.25) & (redness >= 1.6) & (b["B04"] > 0.1) & (b["B04"] < 0.25),
        (ndvi < 0.2) & (redness >= 1.5) & (b["B04"] >= 0.25),
    )
    for i, rule in reversed(list(enumerate(rules))):
        out[rule] = i
    out[rules[2]] = 2
    return out


def subtract_haze(toa: np.ndarray) -> np.ndarray:
    """Estimate surface reflectance by dark object subtraction, (band, row, column): an estimate, no correction.

    What the scene's darkest half percent shows above 0.01 (visible; 0.005 beyond) is scattered light, but at most a
    fifth more than a clear sky scatters (a city in a desert has no dark object); the rest is divided by the share
    of light that such a sky lets through.
    """
    out = np.empty_like(toa)
    for i, name in enumerate(ALL_BANDS):
        sky, through = CLEAR_SKY[name]
        dark = float(np.percentile(toa[i], DARK_PERCENTILE)) - (0.01 if name <= "B04" else 0.005)
        out[i] = (toa[i] - min(max(dark, 0.0), 1.2 * sky)) / through
    return out


def _short(band: str) -> str:
    return band if band == "B8A" else f"B{int(band[1:])}"


def _read(path: Path, member: str) -> np.ndarray:
    with rasterio.open(f"/vsizip/{{{path}}}/{member}") as file:
        return file.read(1)


def _to_20m(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape == (40, 40):
        return pixels
    return pixels.reshape(40, 2, 40, 2).mean(axis=(1, 3))
