"""Definitions that real and simulated series are measured by alike: reflectance by class, seasons, texture, patch size."""

from __future__ import annotations

from typing import Any

import numpy as np
from _planet_sites import Site

MIN_PIXELS = 40
MIN_CLEAR = 0.3
"""A class counts at a date where this share of its pixels is clear: the rest are often cloud edges that masks miss."""
LAGS_PX = 24


def by_class(site: Site) -> dict[str, dict[str, Any]]:
    """Measure each class of a site: dates, and months pooled over years."""
    out: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(site.names):
        where = site.of_class(index)
        if where.sum() < MIN_PIXELS:
            continue
        dates = [d for t in range(len(site.dates)) if (d := _date(site, where[t], t)) is not None]
        if dates:
            out[name] = {
                "pixels": int(where.any(axis=0).sum()),
                "months": _months(dates),
                "dates": dates,
            }
    return out


def _date(site: Site, where: np.ndarray, t: int) -> dict[str, Any] | None:
    clear = where & np.isfinite(site.reflectance[t]).all(axis=0)
    if clear.sum() < MIN_PIXELS or clear.sum() < MIN_CLEAR * where.sum():
        return None
    pixels, ndvi = site.reflectance[t][:, clear], site.ndvi[t][clear]
    low, middle, high = np.percentile(pixels, [10, 50, 90], axis=1)
    return {
        "date": site.dates[t].isoformat(), "pixels": int(clear.sum()),
        "p10": _round(low), "median": _round(middle), "p90": _round(high),
        "robust_std": _round(1.4826 * np.median(np.abs(pixels - middle[:, None]), axis=1)),
        "ndvi": _round(np.percentile(ndvi, [10, 50, 90])), "ndvi_std": round(float(ndvi.std()), 4),
    }  # fmt: skip


def _months(dates: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Pool the medians of a month's dates: the median over dates, which a missed cloud does not shift."""
    out = {}
    for month in range(1, 13):
        these = [d for d in dates if int(d["date"][5:7]) == month]
        if these:
            out[str(month)] = {
                "dates": len(these),
                "median": _round(np.median([d["median"] for d in these], axis=0)),
                "p10": _round(np.median([d["p10"] for d in these], axis=0)),
                "p90": _round(np.median([d["p90"] for d in these], axis=0)),
                "robust_std": _round(np.median([d["robust_std"] for d in these], axis=0)),
                "ndvi": round(float(np.median([d["ndvi"][1] for d in these])), 4),
            }
    return out


def correlation_length(site: Site) -> dict[str, float]:
    """Measure how far NDVI stays alike: the distance at which its correlation falls to 1/e, median over clear dates.

    Rows and columns are lagged, pairs where either pixel is hidden are left out.
    """
    lengths, halves = [], []
    for t in range(len(site.dates)):
        ndvi = site.ndvi[t]
        if np.isfinite(ndvi).mean() < 0.75:
            continue
        curve = [_correlation(ndvi, lag) for lag in range(min(LAGS_PX, ndvi.shape[0] // 3) + 1)]
        lengths.append(_crossing(curve, 1 / np.e) * site.gsd_m)
        halves.append(_crossing(curve, 0.5) * site.gsd_m)
    if not lengths:
        return {}
    return {
        "dates": len(lengths),
        "e_folding_m": round(float(np.median(lengths)), 1),
        "half_m": round(float(np.median(halves)), 1),
    }


def _correlation(values: np.ndarray, lag: int) -> float:
    if lag == 0:
        return 1.0
    first = np.concatenate([values[lag:].ravel(), values[:, lag:].ravel()])
    second = np.concatenate([values[:-lag].ravel(), values[:, :-lag].ravel()])
    both = np.isfinite(first) & np.isfinite(second)
    return float(np.corrcoef(first[both], second[both])[0, 1])


def _crossing(curve: list[float], level: float) -> float:
    """Return where a falling curve crosses a level, in lags, the last lag where it does not."""
    for i in range(1, len(curve)):
        if curve[i] < level:
            return i - 1 + (curve[i - 1] - level) / (curve[i - 1] - curve[i])
    return float(len(curve) - 1)


def patch_sizes(mask: np.ndarray, gsd_m: float) -> dict[str, Any]:
    """Measure connected patches of a mask: their number and the equivalent diameters, in metres, weighted by area."""
    from scipy.ndimage import label

    labels, count = label(mask)
    if not count:
        return {"patches": 0}
    areas = np.bincount(labels.ravel())[1:].astype(float)
    areas = areas[areas >= 4]
    across = 2 * np.sqrt(areas / np.pi) * gsd_m
    order = np.argsort(across)
    share = np.cumsum(areas[order]) / areas.sum()
    return {
        "patches": len(areas), "cover": round(float(mask.mean()), 4),
        "diameter_m_by_number": _round(np.percentile(across, [10, 50, 90]), 0),
        "diameter_m_by_area": [round(float(across[order][np.searchsorted(share, q)])) for q in (0.1, 0.5, 0.9)],
    }  # fmt: skip


def _round(values: np.ndarray, digits: int = 4) -> list[float]:
    return [round(float(v), digits) for v in np.atleast_1d(values)]
