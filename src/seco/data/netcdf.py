"""NetCDF files with a time axis (CF conventions): their variables as planes, a plane a time step."""

from __future__ import annotations

import datetime
import zipfile
from typing import Any

import netCDF4
import numpy as np

from seco.data.grids import Grid, Plane
from seco.errors import DatasetError

SUFFIXES = (".nc", ".nc4", ".netcdf")
_ROWS = ("lat", "latitude")
_COLS = ("lon", "longitude")
_EVEN = 0.01
"""Coordinates count as evenly spaced if no step differs by more than this share of the spacing."""


def is_netcdf(path: str) -> bool:
    """Whether a path is read with netCDF4."""
    return path.lower().endswith(SUFFIXES)


def open_netcdf(path: str) -> Any:
    """Open a NetCDF file so that it gives stored numbers, neither masked nor scaled.

    A file inside a zip archive is read into memory, since the library needs to seek in it.
    """
    if path.startswith("/vsizip/{"):
        archive, member = path[len("/vsizip/{") :].split("}/", 1)
        with zipfile.ZipFile(archive) as opened:
            handle = netCDF4.Dataset(member, mode="r", memory=opened.read(member))
    else:
        handle = netCDF4.Dataset(path, mode="r")
    handle.set_auto_maskandscale(False)
    return handle


def netcdf_planes(path: str) -> list[Plane]:
    """Return every variable of (time, y, x) as one plane a time step, and the file's mask variables with them.

    Raises:
        DatasetError: the file cannot be opened, or has no variable on a regular grid with a time axis.
    """
    try:
        handle = open_netcdf(path)
    except (OSError, RuntimeError, KeyError, zipfile.BadZipFile) as err:
        raise DatasetError(f"cannot read {path}: {err}; fetch the file again or leave it out") from err
    with handle:
        times = _times(handle, path)
        out = []
        for variable in handle.variables.values():
            if (
                len(variable.dimensions) == 3
                and variable.dimensions[0] in times
                and variable.dtype.kind in "iuf"
            ):
                out += _steps(handle, variable, path, times[variable.dimensions[0]])
    if not out:
        raise DatasetError(f"{path} has no variable of (time, y, x); give NetCDF files with a time axis")
    return out


def _times(handle: Any, path: str) -> dict[str, list[datetime.datetime]]:
    """Return the dates along each time dimension."""
    out = {}
    for name, variable in handle.variables.items():
        units = getattr(variable, "units", "")
        if variable.dimensions == (name,) and isinstance(units, str) and " since " in units:
            calendar = getattr(variable, "calendar", "standard")
            try:
                found = netCDF4.num2date(variable[:], units, calendar)
            except (ValueError, OverflowError) as err:
                raise DatasetError(f"{path}: time axis {name} ({units}) cannot be read: {err}") from err
            out[name] = [
                datetime.datetime(t.year, t.month, t.day, t.hour, t.minute, tzinfo=datetime.UTC)
                for t in np.atleast_1d(np.asarray(found))
            ]
    return out


def _steps(handle: Any, variable: Any, path: str, times: list[datetime.datetime]) -> list[Plane]:
    grid, flipped = _grid(handle, variable, path)
    fill = getattr(variable, "_FillValue", getattr(variable, "missing_value", None))
    nodata = None if fill is None or not np.isfinite(fill) else float(fill)
    scale, offset = getattr(variable, "scale_factor", None), getattr(variable, "add_offset", None)
    declared = (scale, offset) not in ((None, None), (1.0, 0.0))
    return [
        Plane(
            path=path, name=variable.name, grid=grid, dtype=variable.dtype.name, variable=variable.name, step=i,
            scale=float(1.0 if scale is None else scale) if declared else None,
            offset=float(0.0 if offset is None else offset) if declared else None,
            nodata=nodata, when=when, flipped=flipped,
        )
        for i, when in enumerate(times)
    ]  # fmt: skip


def _grid(handle: Any, variable: Any, path: str) -> tuple[Grid, bool]:
    """Return the grid of a variable, north up, and whether its rows are stored the other way round."""
    _, row_name, col_name = variable.dimensions
    _, height, width = variable.shape
    crs = _crs(handle, variable, row_name, col_name)
    axes = [handle.variables.get(n) for n in (row_name, col_name)]
    if crs is None or None in axes or height < 2 or width < 2:
        return Grid(crs=None, transform=None, height=height, width=width), False
    (row0, row_step), (col0, col_step) = (_axis(a[:], a.name, path) for a in axes)
    flipped = row_step > 0
    if flipped:
        row0, row_step = row0 + row_step * (height - 1), -row_step
    # Coordinates are pixel centres (CF); a transform starts at the pixel's corner.
    transform = (col_step, 0.0, col0 - col_step / 2, 0.0, row_step, row0 - row_step / 2)
    return Grid(crs=crs, transform=transform, height=height, width=width), flipped


def _axis(values: np.ndarray, name: str, path: str) -> tuple[float, float]:
    values = np.asarray(values, np.float64)
    step = (values[-1] - values[0]) / (len(values) - 1)
    if step == 0 or np.abs(np.diff(values) - step).max() > _EVEN * abs(step):
        raise DatasetError(
            f"{path}: coordinate {name} is not evenly spaced; put the data on a regular grid first"
        )
    return float(values[0]), float(step)


def _crs(handle: Any, variable: Any, row_name: str, col_name: str) -> str | None:
    mapping = handle.variables.get(getattr(variable, "grid_mapping", ""), handle.variables.get("spatial_ref"))
    for attribute in ("crs_wkt", "spatial_ref"):
        text = getattr(mapping, attribute, None)
        if isinstance(text, str) and text:
            return _authority(text, handle.filepath())
    if row_name.lower() in _ROWS and col_name.lower() in _COLS:
        return "EPSG:4326"
    return None


def _authority(text: str, path: str) -> str:
    """Return a CRS as its authority code where it has one, else as WKT."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        crs = CRS.from_user_input(text)
    except CRSError as err:
        raise DatasetError(
            f"{path}: its CRS cannot be read: {err}; correct the grid mapping variable"
        ) from err
    authority = crs.to_authority(min_confidence=100)
    return ":".join(authority) if authority else str(crs.to_wkt())
