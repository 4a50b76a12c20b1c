"""Pictures one looks at: the views that the method saw, and nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import seco
from seco import config as configs
from seco.errors import ConfigError
from seco.report.compare import encoder_words, share_bar
from seco.report.facts import Run
from seco.report.ground import PARTS, Ground
from seco.report.markup import Child, Html, clean, element, join, percent
from seco.report.neighbours import NUM_NEAREST, Neighbours, Query
from seco.report.pictures import picture_uri
from seco.train.preview import Preview, prepare
from seco.train.settings import Pretrain
from seco.views.plan import Head, ViewPlan
from seco.views.sheet import Looked, differs, explain, in_words, look

VIEW_PX = 128
NEIGHBOUR_PX = 96
VIEW_COLOURS = ("#e8b93c", "#4fa3e0", "#e0664f", "#66c07a", "#b58ae0", "#e08ac0")
"""Of the crop boxes, by view."""


def fitted_px(ground: Ground, wanted: int) -> int:
    """Return the edge of a picture of a patch: as wanted, where the patch has so many pixels."""
    return min(wanted, max(ground.tier.patch_px, 32))


def place_words(ground: Ground, place: int) -> Html:
    """Return a place's name, position, part and label."""
    dataset = ground.dataset
    row = int(dataset.first_row[place])
    label = ground.label(row)
    part = str(ground.part[place])
    said: list[Child] = [element("b", dataset.place_ids[place])]
    where = position_words(*dataset.lonlat[row])
    said += [element("span", where)] if where else []
    said += [element("span", label)] if label else []
    said += [element("span", part, class_=f"part part-{PARTS.index(part)}")] if part in PARTS[:3] else []
    return element("div", *said, class_="who")


def position_words(lon: float, lat: float) -> str:
    """Return latitude and longitude as people write them, or the empty string."""
    if not (math.isfinite(lon) and math.isfinite(lat)):
        return ""
    return f"{abs(lat):.1f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.1f}° {'E' if lon >= 0 else 'W'}"


def figure(
    uri: str, *, alt: str, caption: Child, over: Html | None = None, class_: str | None = None
) -> Html:
    """Return a picture with its caption."""
    image = element("img", src=uri, alt=alt, decoding="async")
    held = element("div", image, over, class_="frame")
    return element("figure", held, element("figcaption", caption), class_=class_)


def views_section(run: Run, ground: Ground, *, num_places: int) -> Html:
    """Return what the method saw of some places in its first epoch, by the very draws that trained it.

    Raises:
        ConfigError: the settings are not those of this version of seco.
    """
    seen = prepare(_config(run), num_places=num_places, data=ground.dataset.path)
    places, chosen = seen.places.tolist(), seen.chosen
    looked = look(
        seen.tier, seen.viewer, places=places, first_row=chosen.first_row, num_dates=chosen.num_dates
    )
    lines = [_place_line(seen, looked, ground, i) for i in range(len(places))]
    order = seen.viewer.plan.order.replace("-", ", then ")
    what = f"{ground.counted(len(places), 'training place')} in epoch 0 (seed {run.config.get('seed', 0)}"
    what += f"; {order})"
    text = (
        f"What {run.method} saw of {what}: first the stored seasons with the crop of each view in its colour, then the "
        "views with all that they got."
    )
    words = [
        element("li", line.strip(), class_="pulls" if i % 2 == 0 else "pushes")
        for i, (line, _) in enumerate(
            explain(seen.viewer.plan, siblings=seen.siblings, negatives=seen.negatives)
        )
    ]
    return join(
        [
            element("div", *lines, class_="views"), element("p", text, class_="caption"), roles(seen),
            element("details", element("summary", "The same in words"), element("ul", *words, class_="words")),
        ]
    )  # fmt: skip


def _config(run: Run) -> Pretrain:
    if not run.config:
        raise ConfigError("the run's settings cannot be read")
    try:
        return configs.build(Pretrain, run.config)
    except ConfigError as err:
        why = str(err).split("; known:")[0]
        raise ConfigError(f"the run's settings are not those of seco {seco.__version__}: {why}") from err


def _place_line(seen: Preview, looked: Looked, ground: Ground, i: int) -> Html:
    plan, tier, place = seen.viewer.plan, seen.tier, int(seen.places[i])
    px = min(VIEW_PX, max(tier.patch_px, 48))
    stored = []
    for s, row in enumerate(looked.rows[:, i]):
        date = ground.date_words(int(row))
        stored.append(
            figure(picture_uri(tier.pixels[row], tier, px=px), alt=f"stored season t{s} {date}".strip(),
                    caption=join([element("b", f"t{s}"), Html("<br>"), date or "no date"]),
                    over=_crops(plan, looked, s, i, px=tier.patch_px))
        )  # fmt: skip
    views = []
    for v, view in enumerate(plan.views):
        kind = "augmented" if view.augment else "only cropped"
        name = element("b", f"{view.name} ", class_=f"view view-{v % len(VIEW_COLOURS)}")
        said = element("small", in_words(looked.drawn[view.name], i).replace("\n", ", "))
        views.append(
            figure(picture_uri(looked.views[view.name][i], tier, px=min(VIEW_PX, max(seen.viewer.augment.out_px, 48))),
                    alt=f"view {view.name} of season t{view.season}",
                    caption=join([name, f"= t{view.season}, {kind}", Html("<br>"), said]), class_="seen")
        )  # fmt: skip
    strip = element("div", *stored, element("i", class_="gap"), *views, class_="strip")
    return element("div", place_words(ground, place), strip, class_="line")


def _crops(plan: ViewPlan, looked: Looked, season: int, i: int, *, px: int) -> Html:
    """Draw the crop of each view of a season over the stored picture."""
    boxes = []
    for v, view in enumerate(plan.views):
        if view.season != season:
            continue
        got = looked.drawn[view.name]
        boxes.append(
            element("rect", element("title", f"crop of {view.name}"), x=float(got.left[i]), y=float(got.top[i]),
                    width=float(got.width[i]), height=float(got.height[i]), stroke=VIEW_COLOURS[v % len(VIEW_COLOURS)])
        )  # fmt: skip
    return element("svg", *boxes, viewBox=f"0 0 {px} {px}", class_="crops", aria_hidden="true")


def roles(seen: Preview) -> Html:
    """Return the table of heads and keys: who is pulled towards the query, who is pushed away."""
    plan = seen.viewer.plan
    keys = [k.name for k in plan.keys]
    source = {
        "queue": "earlier places (queue)",
        "batch": "other places of the step",
        "both": "other places and the queue",
    }
    head = element(
        "tr", element("th", "head", scope="col"),
        *[element("th", element("b", k), element("small", differs(plan, k)), scope="col") for k in keys],
        element("th", source[seen.negatives], scope="col"),
    )  # fmt: skip
    lines = [
        element(
            "tr",
            element("th", h.name, scope="row"),
            *[_role(h, k, seen.siblings) for k in keys],
            _pushed("negative"),
        )
        for h in plan.heads
    ]
    table = element("table", element("thead", head), element("tbody", *lines), class_="roles")
    text = (
        "Who is who for the query q. A head pulls its positive towards q and pushes its negatives away, so it "
        "forgets what the positive differs in from q and keeps what the negatives differ in; under each key what it "
        "differs in besides its crop."
    )
    return join(
        [
            element("div", table, class_="scroll"),
            element("p", text, class_="caption"),
        ]
    )  # fmt: skip


def _pushed(text: str) -> Html:
    return element("td", element("span", text, class_="role push"))


def _role(head: Head, key: str, siblings: str) -> Html:
    if key == head.positive:
        return element("td", element("span", "positive", class_="role pull"))
    if key in head.siblings and siblings != "none":
        return _pushed("negative" if siblings == "own" else "negative, of every place")
    return element("td", element("span", "–", class_="role none"))


def neighbours_block(
    found: Neighbours, ground: Ground, *, words: str, name: str, baselines: Sequence[tuple[str, Neighbours]]
) -> Html:
    """Return how many queries find their place, beside what baselines find, and queries with their nearest patches."""
    share = f"{found.num_first:,} of {found.num_queries:,} queries ({percent(found.first)})"
    some = percent(found.num_any / found.num_queries)
    text = (
        f"{share} have their own place as the first answer, {some} among the first {NUM_NEAREST}. Asked are {words}. "
        "Left each query, then its nearest patches of other days by cosine similarity of the features; a right answer "
        "shows the same place in another season."
    )
    bars = [share_bar(name, found.first, kind="mine")]
    bars += [share_bar(encoder_words(n), b.first, kind="linear") for n, b in baselines]
    bars.append(share_bar("chance", found.chance, kind="floor"))
    lost = [encoder_words(n) for n, b in baselines if b.first >= found.first]
    if lost:
        text += f" Without any training, {' and '.join(lost)} {'find' if len(lost) > 1 else 'finds'} as many or more."
    return join(
        [
            element("p", text, class_="caption first"),
            element("div", *bars, class_="bars wide slim"),
            _queries("Right at first", found.right, found.num_first, ground),
            _queries("Wrong at first", found.wrong, found.num_queries - found.num_first, ground),
        ]
    )


def _queries(title: str, queries: list[Query], total: int, ground: Ground) -> Html:
    if not queries:
        return element("h3", title, element("small", "none", class_="aside"))
    lines = [_query(q, ground) for q in queries]
    aside = element("small", f"{len(queries)} of {total:,}, drawn by seed", class_="aside")
    return join([element("h3", title, aside), element("div", *lines, class_="neighbours")])


def _query(query: Query, ground: Ground) -> Html:
    dataset, px = ground.dataset, fitted_px(ground, NEIGHBOUR_PX)

    def cell(row: int, caption: Child, kind: str) -> Html:
        name = clean(dataset.place_ids[dataset.place[row]])
        where = position_words(*dataset.lonlat[row])
        uri = picture_uri(ground.tier.pixels[row], ground.tier, px=px)
        shown = figure(
            uri, alt=f"{kind}: place {name} {ground.date_words(row)}", caption=caption, class_=kind
        )
        return element(
            "div",
            shown,
            class_="cell",
            title=f"place {name}{', ' + where if where else ''}, {ground.date_words(row)}",
        )

    cells = [
        cell(query.row, join([element("b", "query"), Html("<br>"), ground.date_words(query.row)]), "query")
    ]
    for row, similarity, right in zip(query.nearest, query.similarity, query.right, strict=True):
        mark = element("b", "✓ same place" if right else "✗ other", class_="mark")
        date = f"{ground.date_words(int(row))}"
        cells.append(
            cell(
                int(row),
                join([mark, Html("<br>"), date, Html("<br>"), f"{similarity:.3f}"]),
                "right" if right else "wrong",
            )
        )
    return element("div", *cells, class_="strip")
