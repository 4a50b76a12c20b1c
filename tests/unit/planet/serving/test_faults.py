"""The grammar of faults, and who is hit."""

from collections import Counter

import pytest

from seco.errors import ConfigError
from seco.planet.serving.faults import Fault, FaultSchedule, Verdict


def decide(
    schedule: FaultSchedule, path: str = "/a.tif", asked: str = "bytes=0-9", attempt: int = 1, number: int = 1
) -> Verdict:
    return schedule.decide(path=path, asked=asked, attempt=attempt, number=number)


def test_the_grammar() -> None:
    text = (
        "429@0.05 retry-after=3; reset@0.01;truncate@1e-2 ; delay=0.2@0.1; 404:/31UFQ/2023-05-*/B04.tif; "
        "503#3; corrupt#4-9:/x*; 500:*/B08.tif times=2; trickle=1000; expire=60:/signed/*; 429;;"
    )
    assert FaultSchedule.parse(text, seed=7) == FaultSchedule(
        faults=(
            Fault(kind="429", rate=0.05, retry_after_s=3),
            Fault(kind="reset", rate=0.01),
            Fault(kind="truncate", rate=0.01),
            Fault(kind="delay", value=0.2, rate=0.1),
            Fault(kind="404", path="/31UFQ/2023-05-*/B04.tif"),
            Fault(kind="503", numbers=(3, 3)),
            Fault(kind="corrupt", numbers=(4, 9), path="/x*"),
            Fault(kind="500", path="*/B08.tif", times=2),
            Fault(kind="trickle", value=1000.0),
            Fault(kind="expire", value=60.0, path="/signed/*"),
            Fault(kind="429", retry_after_s=1),
        ),
        seed=7,
    )
    assert FaultSchedule.parse("") == FaultSchedule()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reset; bang@0.1", r"fault 'bang@0.1': unknown kind 'bang'; known: 401, 403"),
        ("418", "unknown kind '418'"),
        ("429@x", "fault '429@x': rate 'x' is no number"),
        ("429@0", "rate 0.0; it must be above 0"),
        ("429@1.5", "rate 1.5"),
        ("429@nan", "rate nan"),
        ("429@", "rate '' is no number"),
        ("delay", "delay needs seconds above 0, such as delay=2"),
        ("delay=-1", "delay needs seconds above 0"),
        ("delay=inf", "delay needs seconds above 0"),
        ("delay=1e10", "such as delay=2, from 0.001 to 1e+09"),
        ("expire=1e300", "such as expire=2, from 0.001 to 1e+09"),
        ("trickle=0", "trickle needs bytes a second"),
        ("trickle=1e-300", "such as trickle=2, from 0.001 to 1e+09"),
        ("reset=3", "reset takes no value"),
        ("404:a.tif", "path 'a.tif'; it must start with /"),
        ("404:", "path ''"),
        ("404:/a/*@0.1", "the rate goes before it"),
        ("404#0", "requests 0-0"),
        ("404#5-2", "requests 5-2"),
        ("404#x", "'x' is no whole number"),
        ("404@0.1#3", "cannot read '404@0.1#3'"),
        ("429 retry-after=-1", "retry-after '-1' is no whole number"),
        ("429 retry-after=1.5", "retry-after '1.5' is no whole number"),
        ("reset retry-after=1", "goes with a status, not reset"),
        ("429 after=1", "cannot read 'after=1'; known, once each"),
        ("429 times=1 times=2", "cannot read 'times=2'"),
        ("429 times", "cannot read 'times'"),
        ("429 times=0", "times=0"),
        ("expire=60@0.5", "expire holds for every request"),
        ("GET /", "cannot read 'GET'"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FaultSchedule.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_rate_is_met_and_draws_are_independent() -> None:
    schedule = FaultSchedule.parse("429@0.2; reset@0.5", seed=1)
    hits = Counter(getattr(decide(schedule, asked=f"bytes={i}-").fault, "kind", None) for i in range(4000))
    assert hits["429"] == pytest.approx(800, abs=100)
    assert hits["reset"] == pytest.approx(1600, abs=130)  # half of what the first fault leaves


def test_the_same_again_and_another_attempt() -> None:
    def run(seed: int, attempt: int) -> list[Verdict]:
        schedule = FaultSchedule.parse("500@0.5; delay=1@0.5", seed=seed)
        return [
            decide(schedule, path=f"/{i}", attempt=attempt, number=n)
            for n, i in enumerate(range(200), start=1)
        ]

    assert run(0, 1) == run(0, 1)
    assert run(0, 1) != run(0, 2)
    assert run(0, 1) != run(1, 1)


def test_the_number_of_other_requests_does_not_matter() -> None:
    schedule = FaultSchedule.parse("500@0.5")
    assert [decide(schedule, path=f"/{i}", number=1) for i in range(50)] == [
        decide(schedule, path=f"/{i}", number=900 + i) for i in range(50)
    ]


def test_who_is_hit() -> None:
    kinds = [
        Fault(kind="404", path="/a/*.tif"),
        Fault(kind="500", numbers=(3, 4)),
        Fault(kind="503", times=2),
    ]
    schedule = FaultSchedule(faults=tuple(kinds))
    assert decide(schedule, path="/a/b/c.tif").fault == kinds[0]
    assert decide(schedule, path="/b.tif", number=3, attempt=9).fault == kinds[1]
    assert decide(schedule, path="/b.tif", attempt=2).fault == kinds[2]
    assert decide(schedule, path="/b.tif", attempt=3) == Verdict()


def test_slowness_goes_with_other_faults() -> None:
    schedule = FaultSchedule.parse("delay=0.5; trickle=10; delay=0.25; trickle=5; reset; 404")
    verdict = decide(schedule)
    assert (verdict.delay_s, verdict.bytes_per_s) == (0.75, 5)
    assert verdict.fault == Fault(kind="reset")


def test_signatures_are_asked_for_by_path() -> None:
    schedule = FaultSchedule.parse("expire=60:/s/*")
    assert schedule.lifetime_s("/s/a.tif") == 60
    assert schedule.lifetime_s("/a.tif") is None
    assert decide(schedule, path="/s/a.tif") == Verdict()
