"""The Blue Marble importer on twelve small mosaics: pixels, positions, and every kind of bad input."""

import datetime
import itertools

import numpy as np
import pytest
from PIL import Image

from seco.data.check import check
from seco.data.dataset import open_dataset
from seco.data.importers.bluemarble import Options, decode, draw_windows, find_months, run
from seco.errors import ConfigError, DatasetError
from seco.places.cities import largest_cities
from seco.places.land import land_fraction

WIDTH, HEIGHT, PX = 512, 256, 8
DEGREES = 360 / WIDTH
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
SMALL = {"num_places": 6, "patch_px": PX, "num_cities": 500}


def mosaic(month, *, width=WIDTH, height=HEIGHT):
    """Each pixel tells its column, its row and its month."""
    out = np.empty((height, width, 3), np.uint8)
    out[..., 0] = np.arange(width)[None] % 256
    out[..., 1] = np.arange(height)[:, None] % 256
    out[..., 2] = 20 * month
    return out


def write(folder, *, kind="png", name=lambda m: f"{m:02d}_{MONTHS[m - 1]}", months=range(1, 13)):
    folder.mkdir(parents=True, exist_ok=True)
    for month in months:
        Image.fromarray(mosaic(month)).save(folder / f"{name(month)}.{kind}", quality=95)
    return folder


@pytest.fixture(scope="module")
def mosaics(tmp_path_factory):
    return write(tmp_path_factory.mktemp("source") / "bluemarble")


@pytest.fixture(scope="module")
def imported(mosaics, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "places.seco"
    report = run(mosaics, out, Options(**SMALL))
    return out, report


def nothing_left(parent, *kept):
    """No dataset, no partial one, no scratch folder."""
    return sorted(f.name for f in parent.iterdir()) == sorted(kept)


def test_pixels_are_those_of_the_mosaic_at_the_stated_transform(imported):
    out, report = imported
    dataset = open_dataset(out)
    assert (report.num_places, report.num_patches) == (6, 72)
    assert check(dataset) == []
    index = dataset.index.to_pylist()
    for row, about in enumerate(index):
        a, b, west, d, e, north = about["transform"]
        assert (a, b, d, e) == (DEGREES, 0, 0, -DEGREES)
        col, line = round((west + 180) / DEGREES), round((90 - north) / DEGREES)
        assert west == pytest.approx(-180 + col * DEGREES, abs=1e-9)
        month = about["date"].month
        window = mosaic(month)[line : line + PX, col : col + PX]
        pixels = dataset.read(row)
        for i, band in enumerate(("red", "green", "blue")):
            assert (pixels[band] == window[..., i]).all()
        assert about["lon"] == pytest.approx(west + PX * DEGREES / 2)
        assert about["lat"] == pytest.approx(north - PX * DEGREES / 2)
        assert about["crs"] == "OGC:CRS84"


def test_dates_are_the_twelve_months_and_items_the_files(imported):
    dataset = open_dataset(imported[0])
    for place in range(6):
        rows = np.flatnonzero(dataset.place == place)
        expected = [datetime.date(2004, m, 1) for m in range(1, 13)]
        assert [d.item() for d in dataset.dates[rows]] == expected
        assert [dataset.index["item"][int(r)].as_py() for r in rows] == [
            f"{m:02d}_{MONTHS[m - 1]}.png" for m in range(1, 13)
        ]


def test_bands_and_provenance_say_what_this_is(imported):
    meta = open_dataset(imported[0]).meta
    assert [(b.name, b.units) for b in meta.bands] == [
        ("red", "display"),
        ("green", "display"),
        ("blue", "display"),
    ]
    assert meta.bands[0].gsd_m == pytest.approx(40_030_230 / WIDTH, rel=1e-3)
    assert "Blue Marble" in meta.bands[0].stretch
    assert "NASA" in meta.licence
    assert meta.provenance["mosaic_px"] == [WIDTH, HEIGHT]
    assert meta.provenance["options"]["num_places"] == 6


def test_places_lie_on_land_within_the_latitudes(mosaics, tmp_path):
    settings = {**SMALL, "num_places": 40, "min_land": 0.6, "lat_min": -35.0, "lat_max": 50.0}
    run(mosaics, tmp_path / "a.seco", Options(**settings))
    dataset = open_dataset(tmp_path / "a.seco")
    lonlat = dataset.lonlat[dataset.first_row]
    size = PX * DEGREES
    land = land_fraction(lonlat[:, 0], lonlat[:, 1], width_deg=size, height_deg=size)
    assert land.min() >= 0.6
    assert (lonlat[:, 1] - size / 2).min() >= -35
    assert (lonlat[:, 1] + size / 2).max() <= 50


@pytest.mark.parametrize("sampler", ["cities", "land"])
def test_places_are_a_function_of_the_seed(sampler):
    draw = [draw_windows(WIDTH, HEIGHT, Options(**SMALL, sampler=sampler, seed=s)) for s in (3, 3, 4)]
    assert draw[0].tolist() == draw[1].tolist() != draw[2].tolist()
    more = draw_windows(WIDTH, HEIGHT, Options(**{**SMALL, "num_places": 20}, sampler=sampler, seed=3))
    assert more[:6].tolist() == draw[0].tolist()


def test_land_spreads_wider_than_cities():
    spread = {}
    for sampler in ("cities", "land"):
        options = Options(
            **{**SMALL, "num_places": 300, "num_cities": 20, "sigma_km": 100.0}, sampler=sampler
        )
        spread[sampler] = len(np.unique(draw_windows(WIDTH, HEIGHT, options) // 16, axis=0))
    assert spread["land"] > 3 * spread["cities"]


def test_a_patch_is_centred_on_the_place_drawn():
    options = Options(num_places=50, patch_px=PX, num_cities=30, sigma_km=1e-3, min_land=0.0)
    at = draw_windows(WIDTH, HEIGHT, options)
    centres = np.stack([-180 + (at[:, 0] + PX / 2) * DEGREES, 90 - (at[:, 1] + PX / 2) * DEGREES], axis=1)
    cities = np.array([(c.lon, c.lat) for c in largest_cities(30)])
    nearest = np.abs(centres[:, None] - cities[None]).max(-1).min(1)
    assert nearest.max() <= DEGREES / 2 + 1e-3


def test_sigma_is_one_patch_by_default():
    size_km = PX * DEGREES * 111.195
    default = draw_windows(WIDTH, HEIGHT, Options(**SMALL, seed=1))
    given = draw_windows(WIDTH, HEIGHT, Options(**SMALL, seed=1, sigma_km=size_km))
    assert np.abs(default - given).max() <= 1


def test_without_overlap_no_two_places_share_a_pixel():
    options = {**SMALL, "num_places": 60, "sampler": "land", "min_land": 0.5}
    apart = draw_windows(WIDTH, HEIGHT, Options(**options, overlap=False))
    for a, b in itertools.combinations(apart, 2):
        assert (np.abs(a - b) >= PX).any()
    free = draw_windows(WIDTH, HEIGHT, Options(**options))
    assert any((np.abs(a - b) < PX).all() for a, b in itertools.combinations(free, 2))


def test_windows_lie_inside_the_mosaic():
    options = Options(
        **{**SMALL, "num_places": 200, "sampler": "land", "min_land": 0.0, "lat_min": -90.0, "lat_max": 90.0}
    )
    at = draw_windows(WIDTH, HEIGHT, options)
    assert at.min() >= 0
    assert at[:, 0].max() <= WIDTH - PX
    assert at[:, 1].max() <= HEIGHT - PX


def test_nasa_s_own_names_in_any_size_and_other_files_beside_them(tmp_path):
    folder = write(tmp_path / "nasa", kind="jpg", name=lambda m: f"world.2004{m:02d}.3x5400x2700")
    (folder / "README.txt").write_text("other things may lie there")
    Image.fromarray(mosaic(1)).save(folder / "thumbnail.png")
    assert [f.name[10:12] for f in find_months(folder).values()] == [f"{m:02d}" for m in range(1, 13)]
    for name in ("world.topo.2004{:02d}.3x21600x10800", "world.topo.bathy.2004{:02d}.3x5400x2700"):
        other = write(tmp_path / name[:16], kind="jpg", name=lambda m, n=name: n.format(m))
        assert list(find_months(other)) == list(range(1, 13))
    run(folder, tmp_path / "a.seco", Options(**SMALL))
    dataset = open_dataset(tmp_path / "a.seco")
    col, line = draw_windows(WIDTH, HEIGHT, Options(**SMALL))[0]
    window = mosaic(1)[line : line + PX, col : col + PX, 2]
    assert np.abs(dataset.read(0)["blue"].astype(int) - window).max() < 12  # JPEG


def test_twelve_greyscale_mosaics_are_taken_as_rgb(tmp_path):
    folder = tmp_path / "grey"
    folder.mkdir()
    for m in range(1, 13):
        Image.fromarray(mosaic(m)[..., 0]).save(folder / f"{m:02d}_{MONTHS[m - 1]}.png")
    run(folder, tmp_path / "a.seco", Options(**SMALL))
    pixels = open_dataset(tmp_path / "a.seco").read(0)
    assert (pixels["red"] == pixels["blue"]).all()


# --- bad input ----------------------------------------------------------------------------------------------------------


def refused(source, tmp_path, said, **options):
    """The import fails with one clear error and leaves nothing."""
    parent = tmp_path / "outputs"
    parent.mkdir(exist_ok=True)
    with pytest.raises(DatasetError, match=said) as caught:
        run(source, parent / "a.seco", Options(**{**SMALL, **options}))
    assert "\n" not in str(caught.value)
    assert nothing_left(parent)


def test_a_missing_month_is_named(tmp_path):
    source = write(tmp_path / "s", months=[m for m in range(1, 13) if m not in (3, 11)])
    refused(source, tmp_path, r"lacks month 3, 11 of 12; files are named 01_jan\.jpg")


def test_a_month_that_is_there_twice_is_named(tmp_path):
    source = write(tmp_path / "s")
    write(source, kind="jpg", name=lambda m: f"world.2004{m:02d}.3x5400x2700", months=[5])
    refused(source, tmp_path, r"month 5 is there twice: 05_may\.png and world\.200405")


def test_a_month_of_another_size_is_named(tmp_path):
    source = write(tmp_path / "s")
    Image.fromarray(mosaic(7, width=1024, height=512)).save(source / "07_jul.png")
    refused(
        source,
        tmp_path,
        r"07_jul\.png is 1024 x 512 px, 01_jan\.png is 512 x 256; all months must have one size",
    )


def test_mosaics_that_are_not_twice_as_wide_as_high_are_refused(tmp_path):
    source = tmp_path / "s"
    source.mkdir()
    for m in range(1, 13):
        Image.fromarray(mosaic(m, height=255)).save(source / f"{m:02d}_{MONTHS[m - 1]}.png")
    refused(source, tmp_path, "512 x 255 px; a global mosaic is twice as wide as high")


@pytest.mark.parametrize(("kind", "keep"), [("jpg", 0.5), ("jpg", 0.95), ("png", 0.5)])
def test_a_truncated_image_is_named(tmp_path, kind, keep):
    source = write(tmp_path / "s", kind=kind)
    file = source / f"09_sep.{kind}"
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    refused(source, tmp_path, rf"09_sep\.{kind} is cut short or damaged .*download it again")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    source = write(tmp_path / "s")
    (source / "09_sep.png").write_bytes(content)
    refused(source, tmp_path, r"09_sep\.png is not an image that can be read .*download it again")


def test_more_places_than_land_allows_is_told_with_what_could_be_relaxed(mosaics, tmp_path):
    refused(
        mosaics, tmp_path, r"found \d+ of the 400 places asked in 200000 tries.*--min-land.*--overlap",
        num_places=400, overlap=False, min_land=1.0, sampler="land",
    )  # fmt: skip
    refused(
        mosaics, tmp_path, "found 0 of the 6 places", lat_min=-60.0, lat_max=-58.0, min_land=0.9, num_cities=50
    )  # fmt: skip


def test_a_folder_that_is_not_there_or_holds_nothing(tmp_path):
    refused(tmp_path / "nowhere", tmp_path, "nowhere is not a folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", tmp_path, "lacks month 1, 2, 3")


def test_a_patch_larger_than_half_the_mosaic_is_refused(mosaics, tmp_path):
    refused(mosaics, tmp_path, r"patch of 129 px; .* at most 128", patch_px=129)


def test_an_output_that_exists_is_left_as_it_is(mosaics, tmp_path):
    out = tmp_path / "a.seco"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"a\.seco exists already"):
        run(mosaics, out, Options(**SMALL))
    assert nothing_left(tmp_path, "a.seco")
    assert nothing_left(out, "precious.txt")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_a_stop_leaves_nothing_and_the_same_command_works_afterwards(
    mosaics, tmp_path, monkeypatch, error
):
    from seco.data.importers import bluemarble

    original = np.save
    calls = []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 5:
            raise error
        original(*args, **kwargs)

    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else DatasetError
    with monkeypatch.context() as patch:
        patch.setattr(bluemarble.np, "save", failing)
        with pytest.raises(expected):
            run(mosaics, tmp_path / "a.seco", Options(**SMALL))
    assert nothing_left(tmp_path)
    assert run(mosaics, tmp_path / "a.seco", Options(**SMALL)).num_patches == 72
    assert nothing_left(tmp_path, "a.seco")


def test_a_stop_while_patches_are_written_leaves_nothing(mosaics, tmp_path, monkeypatch):
    from seco.data.importers import bluemarble

    original = bluemarble._patches

    def stopping(place, *args, **kwargs):
        if place == "000003":
            raise KeyboardInterrupt
        yield from original(place, *args, **kwargs)

    monkeypatch.setattr(bluemarble, "_patches", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(mosaics, tmp_path / "a.seco", Options(**SMALL))
    assert nothing_left(tmp_path)


def test_what_a_killed_import_left_does_not_stand_in_the_way(mosaics, tmp_path):
    (tmp_path / "a.seco.partial" / "archive").mkdir(parents=True)
    with pytest.raises(DatasetError, match="never finished"):
        open_dataset(tmp_path / "a.seco")
    run(mosaics, tmp_path / "a.seco", Options(**SMALL))
    assert nothing_left(tmp_path, "a.seco")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_places": 0}, "0 places asked"),
        ({"patch_px": 7}, "patch of 7 px"),
        ({"min_land": 1.1}, "land fraction 1.1"),
        ({"lat_min": 10.0, "lat_max": 10.0}, "latitudes 10.0 to 10.0"),
        ({"lat_max": 91.0}, "91"),
        ({"seed": -1}, "seed -1"),
        ({"sigma_km": 0.0}, "0.0 km"),
        ({"num_cities": 0}, "0 cities"),
    ],
)
def test_options_out_of_range_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        draw_windows(WIDTH, HEIGHT, Options(**{**SMALL, **wrong}))


def test_the_limit_against_decompression_bombs_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.fromarray(mosaic(1)).save(tmp_path / "01_jan.png")
    assert decode(tmp_path / "01_jan.png", tmp_path).shape == (HEIGHT, WIDTH, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_five_places_of_the_real_mosaics(seco_data, tmp_path):
    source = seco_data("bluemarble")
    run(source, tmp_path / "real.seco", Options(num_places=5, patch_px=64, seed=1))
    dataset = open_dataset(tmp_path / "real.seco")
    assert (len(dataset.place_ids), len(dataset)) == (5, 60)
    assert check(dataset) == []
    files = find_months(source)
    with Image.open(files[6]) as image:
        june = np.asarray(image.convert("RGB"))
    degrees = 360 / june.shape[1]
    for place in range(5):
        row = int(dataset.first_row[place]) + 5
        about = dataset.index.slice(row, 1).to_pylist()[0]
        assert about["date"] == datetime.date(2004, 6, 1)
        col, line = (
            round((about["transform"][2] + 180) / degrees),
            round((90 - about["transform"][5]) / degrees),
        )
        window = june[line : line + 64, col : col + 64]
        pixels = dataset.read(row)
        assert all((pixels[b] == window[..., i]).all() for i, b in enumerate(("red", "green", "blue")))
    seasons = dataset.training().pixels[:12].astype(float)
    assert (seasons[0] - seasons[6]).std() > 1  # January is not July
