"""Which places and dates stand in the seasonal sheet and the strip."""

import datetime

import numpy as np
import pytest

from seco.data.dataset import open_dataset
from seco.data.writer import DatasetWriter, Patch
from seco.report import seasons
from seco.report.ground import Ground
from seco.sensors.rgb import display_bands


@pytest.fixture
def ground_of(tmp_path):
    """Write places from lists of (date, clear fraction), and divide them as a run would."""

    def make(*places):
        with DatasetWriter(
            tmp_path / "d", bands=display_bands(stretch="made up"), patch_px=16, licence="none", provenance={}
        ) as writer:
            for i, dates in enumerate(places):
                for j, (date, clear) in enumerate(dates):
                    # Cloud is white, land dark.
                    pixels = np.full((3, 16, 16), 250 if clear < 0.5 else 40 + 5 * j, np.uint8)
                    day = datetime.date.fromisoformat(date)
                    writer.add(
                        Patch(place=f"{i}", pixels=pixels, date=day, item=f"{i}-{j}", clear_fraction=clear)
                    )
        dataset = open_dataset(tmp_path / "d")
        num = np.bincount(dataset.place)
        return Ground(
            dataset=dataset, tier=dataset.training(), part=np.full(len(num), "train", object), num_dates=num
        )

    return make


def _dates(sheet, ground):
    return [[ground.date_words(r) if r >= 0 else "" for r in line] for line in sheet.rows]


def test_days_that_all_places_share_are_the_columns(ground_of):
    days = ("2020-01-01", "2020-05-01", "2020-09-01")
    ground = ground_of(*[[(d, 1.0) for d in days]] * 3)
    sheet = seasons.plan_sheet(ground, seed=0)
    assert sheet.columns == list(days)
    assert sheet.by_day
    assert _dates(sheet, ground) == [list(days)] * 3


def test_other_dates_stand_in_the_part_of_the_year_that_they_are_of_the_clearest_first(ground_of):
    one = [
        ("2020-01-09", 0.2),
        ("2020-02-20", 0.95),
        ("2020-05-01", 1.0),
        ("2020-08-01", 1.0),
        ("2020-11-01", 0.9),
    ]
    two = [
        ("2019-03-09", 1.0),
        ("2019-06-20", 0.5),
        ("2021-06-21", 0.6),
        ("2021-07-01", 1.0),
        ("2021-12-01", 1.0),
    ]
    ground = ground_of(one, two)
    sheet = seasons.plan_sheet(ground, seed=0)
    assert sheet.columns == ["Jan–Mar", "Apr–Jun", "Jul–Sep", "Oct–Dec"]
    assert _dates(sheet, ground) == [
        ["2020-02-20", "2020-05-01", "2020-08-01", "2020-11-01"],
        ["2019-03-09", "2021-06-21", "2021-07-01", "2021-12-01"],
    ]


def test_cloudy_places_give_way_to_clear_ones_in_sheet_and_strip(ground_of):
    days = ("2020-01-01", "2020-04-01", "2020-07-01", "2020-10-01")
    cloudy = [[(d, 0.0 if i else 1.0) for i, d in enumerate(days)]] * 12
    clear = [[(d, 1.0) for d in days]] * 6
    ground = ground_of(*cloudy, *clear)
    assert seasons.plan_sheet(ground, seed=0).places.tolist() == list(range(12, 18))
    strip = seasons.hero_strip(ground, seed=0)
    assert "4 clear dates" in strip
    assert "of 6 places drawn" in strip
    assert "less than" not in seasons.seasonal_sheet(ground, seed=0)


def test_what_is_cloudy_all_the_same_is_said(ground_of):
    ground = ground_of(*[[("2020-01-01", 0.1), ("2020-05-01", 1.0)]] * 2)
    assert "2 pictures less than 90% clear" in seasons.seasonal_sheet(ground, seed=0)
