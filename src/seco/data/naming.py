"""What file names say: the user's own patterns, ESA's and THEIA's. Pure: names in, fields out."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from seco.errors import ConfigError, DatasetError

FIELDS = ("place", "date", "band")
_DATE = r"(?:\d{4}-\d{2}-\d{2}|\d{4}_\d{2}_\d{2}|\d{8})(?:[T_ -]?\d{6}Z?|T\d{2}:?\d{2}(?::?\d{2})?Z?)?|\d{4}-\d{2}"
_WHEN = re.compile(r"(\d{4})[-_:/]?(\d{2})(?:[-_:/]?(\d{2}))?(?:[T_ -]?(\d{2}):?(\d{2})(?::?(\d{2}))?)?")

_ESA_BAND = re.compile(
    r"(?:(?P<level>L1C|L2A)_)?T(?P<tile>\d{2}[A-Z]{3})_(?P<when>\d{8}T\d{6})_(?P<band>B\d{2}|B8A|SCL)"
    r"(?:_(?P<gsd>10|20|60)m)?\.(?:jp2|tif|tiff)"
)
_ESA_PRODUCT = re.compile(
    r"S2[A-D]_MSI(?P<level>L1C|L2A)_\d{8}T\d{6}_N(?P<baseline>\d{4})_R\d{3}_T\d{2}[A-Z]{3}_\d{8}T\d{6}"
)
_THEIA = re.compile(
    r"(?P<item>SENTINEL2[A-D]_(?P<when>\d{8}-\d{6})-\d{3}_L2A_T(?P<tile>\d{2}[A-Z]{3})_[A-Z]_V[\d-]+)"
    r"_(?P<kind>FRE|SRE|CLM)_(?P<band>B\d{1,2}|B8A|R[12])\.tiff?",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """What the name of one file says about it.

    Attributes:
        name: its path in the source.
        place: whose grid it lies on; None where the name does not say.
        when: time of acquisition; None where the file itself must say.
        band: name of its band (or mask); None where the file itself must say.
        item: id of the product it is part of, where the name has one.
        baseline: processing baseline, `05.09`.
        level: processing level, `L1C` or `L2A`.
        rank: of several files for one band of one scene the lowest rank is taken.
    """

    name: str
    place: str | None = None
    when: datetime.datetime | None = None
    band: str | None = None
    item: str = ""
    baseline: str | None = None
    level: str | None = None
    rank: int = 0


def parse_date(text: str) -> datetime.datetime:
    """Read YYYYMMDD, YYYY-MM-DD or YYYY-MM (its first day), with or without a time.

    Raises:
        DatasetError: it is no date.
    """
    match = _WHEN.match(text.strip())
    if match is None:
        raise DatasetError(
            f"{text!r} is no date; known: YYYYMMDD, YYYY-MM-DD, YYYY-MM, each with or without a time"
        )
    year, month, day, hour, minute, second = (int(g) if g else None for g in match.groups())
    try:
        return datetime.datetime(
            year or 0,
            month or 0,
            1 if day is None else day,
            hour or 0,
            minute or 0,
            second or 0,
            tzinfo=datetime.UTC,
        )
    except ValueError as err:
        raise DatasetError(f"{text!r} is no date ({err})") from err


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Turn `{place}/{date}*.tif` into a regular expression for whole paths.

    `*` stands for anything within a file or folder name, `**` also across folders. A field may come twice; it must
    then read the same.

    Raises:
        ConfigError: an unknown field, or unmatched braces.
    """
    out: list[str] = []
    seen: set[str] = set()
    for part in re.split(r"(\{[^{}]*\}|\*\*/|\*\*|\*|\?)", pattern):
        if part.startswith("{") and part.endswith("}"):
            field = part[1:-1]
            if field not in FIELDS:
                raise ConfigError(
                    f"pattern {pattern!r}: unknown field {part}; known: {{place}}, {{date}}, {{band}}"
                )
            body = _DATE if field == "date" else "[^/]+?"
            out.append(f"(?P={field})" if field in seen else f"(?P<{field}>{body})")
            seen.add(field)
        elif "{" in part or "}" in part:
            raise ConfigError(
                f"pattern {pattern!r}: unmatched brace; write fields as {{place}}, {{date}}, {{band}}"
            )
        else:
            out.append({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part)))
    return re.compile("".join(out), re.IGNORECASE)


def by_pattern(names: Iterable[str], pattern: str) -> list[Member]:
    """Return the files that match the user's pattern.

    Where the pattern has no `{place}`, the folder that holds the file is the place (None at the top).
    """
    regex = compile_pattern(pattern)
    out = []
    for name in names:
        match = regex.fullmatch(name)
        if match is None:
            continue
        fields = match.groupdict()
        parent = PurePosixPath(name).parent.as_posix()
        place = fields.get("place") or (None if parent == "." else parent)
        when = _dated(name, fields["date"]) if fields.get("date") else None
        out.append(Member(name=name, place=place, when=when, band=fields.get("band")))
    return out


def _dated(name: str, text: str) -> datetime.datetime:
    try:
        return parse_date(text)
    except DatasetError as err:
        raise DatasetError(f"file {name}: {err}; correct the name or the pattern") from err


def esa(names: Iterable[str]) -> list[Member]:
    """Return the band and scene-class files with ESA's names, inside SAFE folders or bare.

    Source: ESA, Sentinel-2 Products Specification Document (compact naming, since December 2016).
    """
    out = []
    for name in names:
        match = _ESA_BAND.fullmatch(PurePosixPath(name).name)
        if match is None:
            continue
        products = list(_ESA_PRODUCT.finditer(name))
        product = products[-1] if products else None
        digits = product["baseline"] if product else None
        out.append(
            Member(
                name=name,
                place=f"T{match['tile']}",
                when=_dated(name, match["when"]),
                band=match["band"],
                item=product.group() if product else f"T{match['tile']}_{match['when']}",
                baseline=f"{digits[:2]}.{digits[2:]}" if digits else None,
                level=product["level"] if product else match["level"],
                rank=int(match["gsd"] or 0),
            )
        )
    return out


def theia(names: Iterable[str]) -> list[Member]:
    """Return the reflectance and cloud-mask files with THEIA's L2A names.

    Flat reflectance (FRE, corrected for slopes) goes before surface reflectance (SRE); the finer cloud mask (R1) before
    the coarser. Source: THEIA / MAJA L2A product format.
    """
    out = []
    for name in names:
        match = _THEIA.fullmatch(PurePosixPath(name).name)
        if match is None:
            continue
        kind = match["kind"].upper()
        band = match["band"].upper()
        out.append(
            Member(
                name=name,
                place=f"T{match['tile'].upper()}",
                when=_dated(name, match["when"]),
                band="CLM" if kind == "CLM" else band,
                item=match["item"],
                level="L2A",
                rank=int(band[1]) if kind == "CLM" else int(kind == "SRE"),
            )
        )
    return out


def netcdf(names: Iterable[str]) -> list[Member]:
    """Return the NetCDF files; each is a place, its dates are inside."""
    suffixes = (".nc", ".nc4", ".netcdf")
    return [
        Member(name=n, place=PurePosixPath(n).stem, item=PurePosixPath(n).stem)
        for n in names
        if n.lower().endswith(suffixes)
    ]


LAYOUTS = {"esa": esa, "theia": theia, "netcdf": netcdf}


def recognise(names: list[str], *, source: str) -> tuple[str, list[Member]]:
    """Find which known layout the files have.

    Raises:
        DatasetError: none, or several.
    """
    found = {layout: members for layout, members in ((k, f(names)) for k, f in LAYOUTS.items()) if members}
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        kinds = ", ".join(f"{len(m)} {k}" for k, m in found.items())
        raise DatasetError(
            f"{source} holds files of several layouts ({kinds}); import one at a time, with --pattern"
        )
    example = next((n for n in names if n.lower().endswith((".tif", ".tiff", ".jp2"))), None)
    if example is None:
        raise DatasetError(f"{source} holds no raster ({len(names)} files); known: .tif, .tiff, .jp2, .nc")
    raise DatasetError(
        f"{source} has names of no known layout (ESA, THEIA, NetCDF), such as {example}; say where place, date and band "
        "stand in them, such as --pattern '{place}/{date}*.tif'"
    )
