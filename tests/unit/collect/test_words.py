"""What is said where a collection gave nothing: what turned it down, and what helps."""

from collections import Counter
from pathlib import Path

import pytest

from seco.collect.runner import Tally
from seco.collect.words import nothing_for

NOT_THERE, NO_DAYS = "no scenes there", "no scene in any season's days"


@pytest.mark.parametrize(
    ("missed", "rejected", "dropped", "advice"),
    [
        ({NOT_THERE: 3}, {}, {}, "nothing there in these days: see to --places, --from and --to"),
        ({NOT_THERE: 3}, {}, {"outside the days asked": 9}, "see to --places, --from and --to"),
        ({NOT_THERE: 3}, {}, {"mask missing": 9, "too cloudy": 1}, "give another --mask, or none"),
        ({NOT_THERE: 3}, {}, {"bands missing": 9, "too cloudy": 1}, "ask for other --bands"),
        ({NOT_THERE: 3}, {}, {"too cloudy": 9}, "try a larger --max-cloud"),
        ({NOT_THERE: 3}, {}, {"of another collection": 9}, "choose another --collection"),
        (
            {NOT_THERE: 3, NO_DAYS: 1},
            {},
            {"too cloudy": 9},
            "a larger --window-days, --max-cloud or date range",
        ),
        ({"no clear scene": 2}, {"unreadable: refused": 8}, {}, "unless --hosts private allows them"),
    ],
)
def test_what_helps_follows_from_what_was_wrong(missed, rejected, dropped, advice):
    tally = Tally(looked_at=sum(missed.values()), missed=missed, rejected=rejected)
    told = nothing_for(Path("d.seco"), tally, Counter(dropped))
    assert told.startswith(f"no place gave a patch for d.seco: of {tally.looked_at} places ")
    assert advice in told.rpartition("; ")[2]
    for reason, number in {**missed, **rejected, **dropped}.items():
        assert f"{number} {reason}" in told
    assert "\n" not in told
