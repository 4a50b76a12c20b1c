"""The report as a reader meets it: in a browser, from disk, by pointer and finger, in light and dark."""

from __future__ import annotations

import datetime
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from seco.data.writer import DatasetWriter, Patch
from seco.report.options import Report
from seco.report.page import write_report
from seco.sensors.rgb import display_bands
from seco.train.loop import pretrain
from seco.train.settings import Pretrain

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">"
PX, DATES = 16, 6
LAND = (
    (-120, 56), (-98, 38), (-81, 33), (-102, 23), (-60, -4), (-56, -15), (-66, -35), (-71, -52), (-4, 40), (11, 49),
    (24, 61), (38, 55), (69, 62), (102, 64), (130, 62), (116, 33), (78, 22), (101, 16), (46, 24), (10, 25), (20, 2),
    (27, -14), (24, -29), (134, -24),
)  # fmt: skip
"""Longitude and latitude of the places: one a block, of many kinds of land and climate."""


def _write_dataset(out: Path) -> Path:
    """Write 24 places of their own colour and texture around the world; one has a name that is markup."""
    rng = np.random.default_rng(0)
    with DatasetWriter(
        out,
        bands=display_bands(stretch="made up"),
        patch_px=PX,
        licence=HOSTILE,
        provenance={"importer": HOSTILE},
    ) as writer:
        for i, (west, north) in enumerate(LAND):
            texture = rng.integers(20, 200, (3, 1, 1)) + rng.integers(0, 50, (3, PX, PX))
            for j in range(DATES):
                pixels = np.clip(texture * (0.6 + 0.1 * j), 0, 255).astype(np.uint8)
                writer.add(
                    Patch(
                        place=f"{HOSTILE}{i}" if i % 5 == 0 else f"place-{i}", pixels=pixels, label=f"{HOSTILE}{i % 3}",
                        date=datetime.date(2020, 1 + 2 * j, 3), item=f"{i}-{j}", lon=west + 0.08, lat=north - 0.08,
                        crs="EPSG:4326", transform=(0.01, 0.0, float(west), 0.0, -0.01, float(north)),
                    )
                )  # fmt: skip
    return out


def _rows() -> list[dict]:
    common = {
        "task": "landcover",
        "probe": "linear",
        "metric": "accuracy",
        "seed": 0,
        "output": "features",
        "majority": 0.2,
    }
    scored = [("seco", 0.5), ("colour", 0.9), ("random:test_resnet", 0.1), (f"random:{HOSTILE}", 0.35)]
    rows = [common | {"encoder": e, "value": v, "ci_low": v - 0.05, "ci_high": v + 0.05} for e, v in scored]
    return [*rows, common | {"encoder": "seco", "task": "season", "value": 0.3}]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two short runs."""
    root = tmp_path_factory.mktemp("report")
    data = _write_dataset(root / "places.seco")
    for method in ("seco", "moco"):
        config = Pretrain(
            data=data,
            method=method,
            encoder="test_resnet",
            steps=6,
            batch_size=4,
            log_every=2,
            probe_every=3,
            device="cpu",
        )
        pretrain(config, root / method, say=lambda line: None)
    (root / "scores.json").write_text(json.dumps({"rows": _rows()}))
    report = Report(num_places=8, device="cpu")
    return write_report([root / "seco", root / "moco"], root / "page", report, say=lambda line: None)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright to look at the page")
    if not CHROMIUM.exists():
        pytest.skip(f"needs Chromium to look at the page: {CHROMIUM} is not there (apt-get install chromium)")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, page_file):
    """Open the page in a window of a size and scheme; fail on any error or request, and close it in the end."""
    contexts, troubles = [], []

    def open_page(*, width: int = 1280, height: int = 900, scheme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda m: troubles.append(f"console {m.type}: {m.text}"))
        page.on("pageerror", lambda e: troubles.append(f"error: {e}"))

        def seen(route, request):
            if request.url.startswith("data:") or request.url == page_file.as_uri():
                return route.continue_()
            troubles.append(f"request: {request.url}")
            return route.abort()

        page.route("**/*", seen)
        page.goto(page_file.as_uri())
        page.wait_for_selector(".chart .plot svg")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def _colour(page, name: str) -> str:
    return page.evaluate("name => getComputedStyle(document.body)[name]", name)


def _drawn(page, selector: str) -> list[int]:
    """Return for each canvas how many of its pixels are painted."""
    return page.evaluate(
        """selector => [...document.querySelectorAll(selector)].map(c =>
        c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 3 && v > 0).length)""",
        selector,
    )


def _point(page, panel: int, index: int) -> dict[str, float]:
    """Where a point of the embedding is drawn, within its canvas."""
    return page.evaluate(
        """([panel, i]) => { const c = document.querySelectorAll('.embedding canvas')[panel].getBoundingClientRect();
        const p = DATA.embeddings[0].panels[panel];
        return {x: 18 + p.x[i] / 1000 * (c.width - 36), y: c.height - 18 - p.y[i] / 1000 * (c.height - 36)}; }""",
        [panel, index],
    )


def test_it_loads_without_errors_and_the_pictures_are_there(visit):
    page = visit()
    pictures = page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.alt])")
    assert len(pictures) > 60
    assert all(complete and width > 0 and alt for complete, width, alt in pictures)
    assert all(n > 500 for n in _drawn(page, "canvas"))
    assert page.locator("canvas").count() == 3  # a map, and an embedding of each run
    assert page.locator("main > section .missing").all_inner_texts() == [
        "Of moco there are no scores; make some with seco evaluate RUN ... --json scores-NAME.json."
    ]


def test_hostile_names_stay_text(visit):
    page = visit()
    box = page.locator(".map canvas")
    box.scroll_into_view_if_needed()
    at = page.evaluate(
        """() => { const m = DATA.maps[0], p = m.points, [w, s, e, n] = m.bounds;
        const c = document.querySelector('.map canvas').getBoundingClientRect();
        return {x: (p.lon[0] - w) / (e - w) * c.width, y: (n - p.lat[0]) / (n - s) * c.height}; }"""
    )
    box.hover(position=at)
    assert page.locator("#tip b").first.inner_text() == f"{HOSTILE}0"
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "seco, moco – seco report"


def test_pointing_at_a_chart_tells_values_and_the_legend_hides_lines(visit):
    page = visit()
    figure = page.locator(".chart").first
    plot = figure.locator(".plot svg")
    plot.scroll_into_view_if_needed()
    size = plot.bounding_box()
    plot.hover(position={"x": size["width"] - 12, "y": 80})
    tip = page.locator("#tip").inner_text()
    logged = page.evaluate("DATA.charts[0].lines.map(l => [l.name, l.y[l.y.length - 1]])")
    assert tip.startswith("step 6")
    for name, value in logged:
        assert name in tip
        assert f"{value:.4g}" in tip
    lines = plot.locator("path")
    before = lines.count()
    button = figure.locator(".legend button").first
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert figure.locator(".plot svg path").count() == before - 1
    button.click()
    assert figure.locator(".plot svg path").count() == before


def test_the_axes_of_charts_are_even_and_whole(visit):
    page = visit(width=390)
    axes = page.evaluate(
        """[...document.querySelectorAll('.chart .plot svg')].map(s => [...s.querySelectorAll('text')]
        .filter(t => t.getAttribute('text-anchor') === 'end' && +t.getAttribute('x') < 120)
        .map(t => [t.textContent, t.getBBox().x, +t.getAttribute('y')]))"""
    )
    assert len(axes) >= 4
    for labels in axes:
        values = [float(text.rstrip("%").replace(",", "")) for text, _, _ in labels]
        steps = np.diff(values)
        assert len(values) >= 3
        assert (steps > 0).all()
        # What a label says is where it stands: no rounding on the way.
        np.testing.assert_allclose(steps, steps[0], rtol=0.02)
        np.testing.assert_allclose(np.diff([y for *_, y in labels]), labels[1][2] - labels[0][2], rtol=1e-6)
        assert min(x for _, x, _ in labels) >= 0


def test_charts_can_be_read_by_keyboard(visit):
    page = visit()
    page.locator(".chart .plot svg").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("step 1")
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("step 2")


def test_the_selector_recolours_the_embedding(visit):
    page = visit()
    picture = "() => [...document.querySelectorAll('.embedding canvas')].map(c => c.toDataURL())"
    seen = {}
    for name in ("label", "land cover", "climate", "season", "month", "latitude"):
        page.locator(".embedding").get_by_role("button", name=name, exact=True).click()
        assert page.locator(".embedding").get_attribute("data-colouring") == name
        seen[name] = page.evaluate(picture)
    assert len({"".join(s) for s in seen.values()}) == len(seen)
    assert all(a != b for a, b in zip(seen["label"], seen["latitude"], strict=True))  # every panel
    assert page.locator(".embedding .ramp").inner_text().count("°") == 2
    page.get_by_role("button", name="patches", exact=True).click()
    assert page.evaluate(picture)[0] != seen["latitude"][0]


def test_one_class_can_be_shown_alone(visit):
    page = visit()
    page.locator(".embedding").get_by_role("button", name="season", exact=True).click()
    before = page.evaluate("document.querySelector('.embedding canvas').toDataURL()")
    page.locator(".embedding .legend button").first.click()
    assert page.evaluate("document.querySelector('.embedding canvas').toDataURL()") != before
    pressed = [b.get_attribute("aria-pressed") for b in page.locator(".embedding .legend button").all()]
    assert pressed == ["true"] + ["false"] * (len(pressed) - 1)


def test_pointing_shows_a_patch_and_a_click_keeps_it(visit):
    page = visit()
    canvas = page.locator(".embedding canvas").nth(1)
    canvas.scroll_into_view_if_needed()
    # The nearest point is the one pointed at, whatever lies around it.
    canvas.hover(position=_point(page, 1, 3))
    name, date = page.evaluate("[DATA.embeddings[0].place[3], DATA.embeddings[0].date[3]]")
    tip = page.locator("#tip").inner_text()
    assert name in tip
    assert date in tip
    assert (
        page.locator("#tip .patch")
        .evaluate("p => getComputedStyle(p).backgroundImage")
        .startswith('url("data:image/webp')
    )
    canvas.click(position=_point(page, 1, 3))
    kept = page.locator(".embedding .kept figure")
    assert kept.count() == 1
    assert kept.get_attribute("data-patch") == "3"
    assert kept.inner_text() == tip.strip() or name in kept.inner_text()
    # Its place in the sprite sheet, in columns and lines of 120 px.
    columns = page.evaluate("DATA.embeddings[0].sprite.columns")
    where = kept.locator(".patch").evaluate("p => p.style.backgroundPosition")
    assert where == f"{-(3 % columns) * 120}px {-(3 // columns) * 120}px".replace("-0px", "0px")
    canvas.click(position=_point(page, 1, 3))
    assert kept.count() == 0


def test_pointing_joins_the_days_of_a_place(visit):
    page = visit()
    page.locator(".embedding canvas").first.scroll_into_view_if_needed()
    # Two days of a place with nothing drawn halfway: what is there when one is pointed at is their line.
    pair = page.evaluate(
        """() => { const c = document.querySelector('.embedding canvas'), d = DATA.embeddings[0], p = d.panels[0];
        const r = c.width / c.clientWidth, w = c.clientWidth, h = c.clientHeight;
        // Read from a copy: the browser warns of canvases that are read often.
        const g = new OffscreenCanvas(c.width, c.height).getContext('2d', {willReadFrequently: true});
        window.painted = (x, y) => { g.clearRect(0, 0, c.width, c.height); g.drawImage(c, 0, 0);
          return g.getImageData(x, y, 5, 5).data.some(v => v > 0); };
        const x = p.x.map(v => 18 + v / 1000 * (w - 36)), y = p.y.map(v => h - 18 - v / 1000 * (h - 36));
        for (let i = 0; i < x.length; i++) for (let j = 0; j < x.length; j++) {
          if (i === j || d.place[i] !== d.place[j] || Math.hypot(x[i] - x[j], y[i] - y[j]) < 30) continue;
          if (x.some((v, k) => k !== i && Math.hypot(v - x[i], y[k] - y[i]) < 3)) continue;
          const mx = Math.round((x[i] + x[j]) / 2 * r) - 2, my = Math.round((y[i] + y[j]) / 2 * r) - 2;
          if (!painted(mx, my)) return {at: {x: x[i], y: y[i]}, mx, my};
        } return null; }"""
    )
    painted = "([x, y]) => painted(x, y)"
    middle = [pair["mx"], pair["my"]]
    assert not page.evaluate(painted, middle)
    page.locator(".embedding canvas").first.hover(position=pair["at"])
    assert page.evaluate(painted, middle)
    page.mouse.move(2, 2)
    assert not page.evaluate(painted, middle)


def test_the_table_sorts_and_filters(visit):
    page = visit()
    table = page.locator("table.scores")
    rows = table.locator("tbody tr:visible")

    def column(i: int) -> list[str]:
        return [r.locator("td").nth(i).inner_text() for r in rows.all()]

    heads = [h.inner_text().split()[0] for h in table.locator("thead th").all()]
    score, encoder = heads.index("score"), heads.index("encoder")
    button = table.locator("thead th button").nth(score)
    button.click()
    assert [float(v) for v in column(score)] == [90.0, 50.0, 35.0, 30.0, 10.0]
    assert table.locator("thead th").nth(score).get_attribute("aria-sort") == "descending"
    button.click()
    assert [float(v) for v in column(score)] == [10.0, 30.0, 35.0, 50.0, 90.0]
    table.locator("thead th button").nth(encoder).click()
    assert column(encoder) == ["colour", f"random:{HOSTILE}", "random:test_resnet", "seco", "seco"]
    page.locator("#scores").get_by_role("button", name="season", exact=True).click()
    assert column(score) == ["30.0"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_dark_where_the_system_is_and_the_button_turns_it(visit, scheme):
    page = visit(scheme=scheme)

    def lightness() -> float:
        return sum(int(v) for v in _colour(page, "backgroundColor")[4:-1].split(",")) / 765

    first, drawn = lightness(), page.evaluate("document.querySelector('.map canvas').toDataURL()")
    assert (first < 0.2) == (scheme == "dark")
    assert (first > 0.9) == (scheme == "light")
    page.locator("#theme").click()
    assert abs(lightness() - first) > 0.7
    assert page.evaluate("document.querySelector('.map canvas').toDataURL()") != drawn
    page.locator("#theme").click()
    assert lightness() == first


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_no_width_scrolls_sideways(visit, width):
    page = visit(width=width, height=800)
    inside, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert inside <= window
    hidden = page.evaluate(
        """[...document.querySelectorAll('h1, h2, h3, .card, .chart, .map, .embedding, .command, .facts dd')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.className || e.tagName)"""
    )
    assert hidden == []


def test_a_phone_shows_every_view_without_scrolling(visit):
    for width, rows in ((320, 3), (390, 3), (1280, 1)):
        page = visit(width=width, height=800)
        strips = page.evaluate(
            """[...document.querySelectorAll('.views .strip')].map(s => [s.scrollWidth - s.clientWidth,
            new Set([...s.querySelectorAll('figure')].map(f => f.offsetTop)).size])"""
        )
        assert len(strips) >= 4
        assert all(beyond <= 0 for beyond, _ in strips)
        assert strips[0][1] == rows  # SeCo: three seasons, then four views, two by two


def test_the_first_mark_of_an_axis_says_what_it_counts(visit):
    marks = visit().evaluate(
        """[...document.querySelectorAll('.chart .plot svg')].map(s => [...s.querySelectorAll('text')]
        .filter(t => +t.getAttribute('y') > 190).map(t => t.textContent))"""
    )
    assert len(marks) >= 4
    for words in marks:
        assert words[0].startswith("step ")
        assert not any("step" in w for w in words[1:])


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_words_beside_a_progress_bar_stay_words(browser, width):
    style = (files("seco.report") / "page" / "page.css").read_text(encoding="utf-8")
    words = "3%, about 38 minutes left if it still runs"
    page = browser.new_page(viewport={"width": width, "height": 600})
    page.set_content(
        f"<style>{style}</style><main><div class=progress><span>Step 75 of 3,000</span><span class=track>"
        f"<i class=fill style='width:3%'></i></span><span>{words}</span></div></main>"
    )
    told, track, left = page.evaluate(
        "[...document.querySelectorAll('.progress > span')].map(s => [s.offsetWidth, s.offsetHeight])"
    )
    page.close()
    assert track[0] >= 80
    assert max(told[1], left[1]) < 30  # one line of 13 px


def test_the_contents_follow_the_reader(visit):
    page = visit()
    page.locator('nav a[href="#views"]').click()
    page.wait_for_selector('nav a.here[href="#views"]')
    assert page.locator('nav a[aria-current="true"]').count() == 1


def test_the_text_has_enough_contrast(visit):
    for scheme in ("light", "dark"):
        page = visit(scheme=scheme)
        ratios = page.evaluate(
            """() => { const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => { v /= 255;
            return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
            const ground = light(getComputedStyle(document.body).backgroundColor);
            return ['.lede', '.caption', 'h2', 'nav a', '.facts dt', '.verdict', '.role.pull', '.role.push', '.mark',
                    'figcaption', '.missing']
              .map(s => [s, light(getComputedStyle(document.querySelector(s)).color)])
              .map(([s, l]) => [s, (Math.max(l, ground) + .05) / (Math.min(l, ground) + .05)]); }"""
        )
        assert [(name, round(r, 1)) for name, r in ratios if r < 4.5] == []
