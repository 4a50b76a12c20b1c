"""Places through their seasons: the strip at the top of a page, and the sheet with places down and dates across."""

from __future__ import annotations

import calendar
import dataclasses

import numpy as np

from seco.data.sheet import as_rgb
from seco.report.gallery import figure, fitted_px, place_words, position_words
from seco.report.ground import MAX_DATES, Ground
from seco.report.markup import Html, count, element, join
from seco.report.pictures import picture_uri

SHEET_PLACES = 6
SHEET_PX = 96
DRAWN_PLACES = 120
"""Places that those shown are chosen from."""
CLEAR = 0.9
"""Least clear share of a patch that shows a season: below, one sees weather."""
BINS = (12, 6, 4)
"""Columns of a year where places were seen on days of their own: months, pairs of months, quarters."""
FILLED = 0.75
"""Least share of the columns that have a picture, and of the dates that a place of the strip has clear."""


def hero_strip(ground: Ground, *, seed: int) -> Html:
    """Return the place that changes most, of some drawn, through its clear dates; or some places where each has one date."""
    drawn = np.random.default_rng(seed).permutation(len(ground.num_dates))[:DRAWN_PLACES]
    seen = {int(p): ground.clear_rows(p, least=CLEAR) for p in drawn}
    most = max(len(rows) for rows in seen.values())
    dated = [p for p, rows in seen.items() if len(rows) >= max(3, FILLED * most)]
    if dated:
        place = max(dated, key=lambda p: (_change(ground, seen[p]), -p))
        rows = seen[place]
        where = position_words(*ground.dataset.lonlat[rows[0]])
        first, last = ground.date_words(int(rows[0])), ground.date_words(int(rows[-1]))
        kind = "clear date" if ground.knows_clouds else "date"
        text = f"One {ground.simulated}place{f' at {where}' if where else ''}, {count(len(rows), kind)}"
        text += f"{f', {first} to {last}' if first else ''}: of {len(dated)} places drawn the one that changes most."
    else:
        rows = np.sort(ground.dataset.first_row[drawn[:MAX_DATES]])
        text = f"{len(rows)} of {ground.counted(len(ground.num_dates))}."
    images = [
        element("img", src=picture_uri(ground.tier.pixels[r], ground.tier, px=fitted_px(ground, SHEET_PX)),
                alt=ground.date_words(int(r)) or "a patch", title=ground.date_words(int(r)) or None)
        for r in rows
    ]  # fmt: skip
    # A phone shows two lines where a wide window shows one.
    num = f"--n:{len(images)};--half:{len(images) if len(images) <= 6 else -(-len(images) // 2)}"
    band = element("div", *images, class_="band", style=num)
    return element("figure", band, element("figcaption", text), class_="hero-strip")


def _change(ground: Ground, rows: np.ndarray) -> float:
    """Return how much patches differ: the deviation of coarse colours, as the eye is shown them."""
    step = max(1, ground.tier.patch_px // 16)
    shown = [as_rgb(np.asarray(ground.tier.pixels[r][:, ::step, ::step]), ground.tier) for r in rows]
    return float(np.nan_to_num(np.stack(shown)).std(0).mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sheet:
    """Places down, columns across.

    Attributes:
        places: what is shown, in order.
        columns: titles, empty where a column is nothing but a number.
        rows: (places, columns) of the index, -1 where there is no patch.
        how: what stands across, in words.
        by_day: whether every column is one day.
    """

    places: np.ndarray
    columns: list[str]
    rows: np.ndarray
    how: str
    by_day: bool


def plan_sheet(ground: Ground, *, seed: int, num_places: int = SHEET_PLACES) -> Sheet:
    """Choose columns and places: the dates that all places share, or else parts of the year, each with its clearest patch.

    Of the places drawn, those are taken that have the most clear pictures, in the order drawn where they have as many.
    """
    drawn = np.random.default_rng(seed).permutation(len(ground.num_dates))[:DRAWN_PLACES]
    rows = [ground.rows_of(p) for p in drawn]
    dates = {tuple(ground.date_words(r) for r in found) for found in rows}
    if len(dates) == 1:
        table, titles = np.stack(rows), list(next(iter(dates)))
        total = int(ground.num_dates[drawn].max())
        how = f"{MAX_DATES} of {total} dates, evenly chosen" if total > MAX_DATES else f"all {total} dates"
    elif not (ground.dataset.months > 0).any():
        width = max(len(r) for r in rows)
        table = np.stack([np.pad(r, (0, width - len(r)), constant_values=-1) for r in rows])
        titles, how = [""] * width, "their patches, whose dates are not known"
    else:
        table, titles, how = _by_season(ground, drawn)
    good = ((table >= 0) & (ground.clear[table] >= CLEAR)).sum(1)
    best = np.sort(np.argsort(-good, kind="stable")[:num_places])
    best = best[np.argsort(drawn[best])]
    return Sheet(places=drawn[best], columns=titles, rows=table[best], how=how, by_day=len(dates) == 1)


def _by_season(ground: Ground, places: np.ndarray) -> tuple[np.ndarray, list[str], str]:
    """Lay patches out by the part of the year: the finest parts that are mostly filled, each with its clearest patch."""
    for num in BINS:
        table = np.full((len(places), num), -1)
        for line, place in zip(table, places, strict=True):
            rows = ground.dataset.first_row[place] + np.arange(ground.num_dates[place])
            rows = rows[ground.dataset.months[rows] > 0]
            # Written in rising order, so that the clearest of a part stays.
            rows = rows[np.argsort(ground.clear[rows], kind="stable")]
            line[(ground.dataset.months[rows] - 1) // (12 // num)] = rows
        if (table >= 0).mean() >= FILLED:
            break
    span = 12 // num
    names = calendar.month_abbr
    titles = [names[1 + i * span] + (f"–{names[(i + 1) * span]}" if span > 1 else "") for i in range(num)]
    used = np.flatnonzero((table >= 0).any(0))
    kind = {1: "month", 2: "pair of months", 3: "quarter"}[span]
    return table[:, used], [titles[i] for i in used], f"the clearest date of each {kind}"


def seasonal_sheet(ground: Ground, *, seed: int) -> Html:
    """Return places down and dates or seasons across."""
    if int(ground.num_dates.max()) < 2:
        return _single_dates(ground, seed=seed)
    sheet = plan_sheet(ground, seed=seed)
    lines = [_heads(sheet.columns)] if any(sheet.columns) else []
    for place, rows in zip(sheet.places, sheet.rows, strict=True):
        cells = [_cell(ground, int(r), str(ground.dataset.place_ids[place])) for r in rows]
        strip = element("div", *cells, class_="strip")
        lines.append(element("div", place_words(ground, int(place)), strip, class_="line"))
    cloudy = int((ground.clear[sheet.rows[sheet.rows >= 0]] < CLEAR).sum())
    chosen = f"{ground.counted(len(sheet.places))} of {len(ground.num_dates):,}, "
    chosen += f"the clearest of {min(DRAWN_PLACES, len(ground.num_dates))} " if ground.knows_clouds else ""
    text = f"{chosen}drawn with seed {seed}; places down, across {sheet.how}. "
    if cloudy:
        text += f"{count(cloudy, 'picture')} less than {CLEAR:.0%} clear: there was no better one. "
    text += "What changes along a line is what an encoder may learn to see through."
    # Where the columns are days, and there is room for their titles, a day under each picture would say it again.
    kind = "sheet titled" if sheet.by_day else "sheet"
    return join([element("div", *lines, class_=kind), element("p", text, class_="caption")])


def _heads(titles: list[str]) -> Html:
    """Return the line of column titles; each picture's date says the same to who cannot see the columns."""
    strip = element("div", *[element("figure", t) for t in titles], class_="strip")
    return element("div", element("span"), strip, class_="line heads", aria_hidden="true")


def _cell(ground: Ground, row: int, name: str) -> Html:
    if row < 0:
        return element("figure", element("div", class_="frame empty"), element("figcaption", "no date"))
    date = ground.date_words(row)
    uri = picture_uri(ground.tier.pixels[row], ground.tier, px=fitted_px(ground, SHEET_PX))
    return figure(uri, alt=f"place {name} {date}".strip(), caption=date or "no date")


def _single_dates(ground: Ground, *, seed: int) -> Html:
    """Return some places side by side, and say that there are no seasons."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(ground.num_dates))[:MAX_DATES])
    cells = [
        figure(picture_uri(ground.tier.pixels[r], ground.tier, px=fitted_px(ground, SHEET_PX)),
               alt=f"place {ground.dataset.place_ids[p]}", caption=ground.label(r) or ground.date_words(r))
        for p in chosen.tolist()
        for r in [int(ground.dataset.first_row[p])]
    ]  # fmt: skip
    text = "Each place has one date, so there are no seasons to compare; "
    text += f"{len(cells)} of {count(len(ground.num_dates), 'place')}."
    strip = element("div", element("div", *cells, class_="strip"), class_="sheet")
    return join([strip, element("p", text, class_="caption")])
