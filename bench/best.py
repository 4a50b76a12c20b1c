"""The best encoder that two cores can train in an hour or two, judged on EuroSAT (linear, all training labels, strict).

To beat: ImageNet's EfficientNet-Lite0 at the same labels, size, split and probe. An attempt is a line of ATTEMPTS: where it
starts, what it sees (EuroSAT's training images without their labels, or a dataset of places) and how. Attempts and sizes are
compared by the probe's accuracy on the validation part, a quarter of the training images; the test part is scored by --test
alone, for what was chosen. Every attempt ends in one JSON file; stopped at any time, the same command goes on.

  python bench/best.py --sizes 64,96,128 --only imagenet              how the row to beat depends on the size
  python bench/best.py --steps 60 --labels 4000 --only moco           short trials, judged on few labels
  python bench/best.py --steps 5000 --only moco-lr-0.0003             an hour or two
  python bench/best.py --steps 5000 --only moco-lr-0.0003 --test      its test part too: once, at the end
  python bench/best.py --steps 300 --seed 1 --only frozen-weak-colour-lr-0.0003 --test   another split and training
  python bench/best.py --table                                        what there is so far
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from seco.data.dataset import open_dataset
from seco.probes.features import FeatureStore
from seco.probes.labelled import image_case
from seco.probes.linear import FIT, REGULARISATIONS, VALIDATE, choose_linear
from seco.runs import METRICS_NAME, environment, read_metrics, write_json
from seco.tasks.eurosat import Options
from seco.use.load import load_encoder

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "docs" / "results" / "best"
LITE0 = "tf_efficientnet_lite0"
IMAGENET = f"imagenet:{LITE0}"
COMMON = (
    "--method", "moco", "--encoder", LITE0, "--batch-size", "128", "--probe-every", "0", "--checkpoint-every", "20",
)  # fmt: skip
"""No probes while training: they would look at images held out for the test."""
ADAPT = ("--init", "imagenet", "--momentum", "0.99")
FROZEN = (*ADAPT, "--freeze-norm")
"""ImageNet's batch-norm statistics kept: those of other imagery cost its weights 5 to 9 points (docs/log.md)."""
WEAK = ("--jitter", "0.2,0.2,0.2,0.02", "--grey-p", "0")
NONE = ("--jitter-p", "0", "--grey-p", "0")
"""Colour transformations: EuroSAT's classes differ by colour, which the usual ones teach an encoder to ignore."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
    """One way to an encoder: flags of `seco pretrain`, or an encoder that is judged as it is."""

    name: str
    flags: tuple[str, ...] = ()
    data: str = "eurosat"
    encoder: str | None = None


ATTEMPTS = (
    Attempt(name="imagenet", encoder=IMAGENET),
    Attempt(name="random", encoder=f"random:{LITE0}"),
    *(Attempt(name=f"moco-lr-{lr}", flags=(*ADAPT, "--lr", lr)) for lr in ("1e-05", "3e-05", "0.0001", "0.0003", "0.001")),
    *(
        Attempt(name=f"moco-{name}-colour-lr-{lr}", flags=(*ADAPT, "--lr", lr, *flags))
        for name, flags in (("weak", WEAK), ("no", NONE))
        for lr in ("1e-05", "3e-05", "0.0001")
    ),
    *(
        Attempt(name=f"frozen-{name}-colour-lr-{lr}", flags=(*FROZEN, "--lr", lr, *flags))
        for name, flags in (("full", ()), ("weak", WEAK), ("no", NONE))
        for lr in ("3e-05", "0.0001", "0.0003", "0.001")
    ),
    *(
        Attempt(name=f"frozen-{name}", flags=(*FROZEN, "--lr", "0.0003", *WEAK, *flags))
        for name, flags in (
            ("crop-0.5", ("--crop-scale", "0.5,1")), ("crop-0.08", ("--crop-scale", "0.08,1")),
            ("temperature-0.2", ("--temperature", "0.2")), ("decay-0", ("--weight-decay", "0")),
            ("queue", ("--negatives", "both", "--queue-size", "4096")), ("batch-256", ("--batch-size", "256")),
        )
    ),
    Attempt(name="moco-crop-0.5", flags=(*ADAPT, "--lr", "0.0001", "--crop-scale", "0.5,1")),
    Attempt(name="moco-crop-0.08", flags=(*ADAPT, "--lr", "0.0001", "--crop-scale", "0.08,1")),
    Attempt(name="moco-temperature-0.2", flags=(*ADAPT, "--lr", "0.0001", "--temperature", "0.2")),
    Attempt(name="moco-momentum-0.9", flags=(*ADAPT[:2], "--lr", "0.0001", "--momentum", "0.9")),
    Attempt(name="moco-random", flags=("--init", "random")),
    Attempt(name="seco-places", flags=(*ADAPT, "--method", "seco", "--lr", "0.0001"), data="places"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Where things are, and how long attempts are trained."""

    eurosat: Path
    places: Path | None
    work: Path
    results: Path
    steps: int
    labels: int | None
    sizes: tuple[int, ...]
    seed: int = 0

    def seco(self, *words: str | Path) -> None:
        """Run a seco command."""
        print("$ seco " + " ".join(map(str, words)), flush=True)
        subprocess.run([sys.executable, "-m", "seco.cli", *map(str, words)], check=True)

    def name(self, attempt: Attempt) -> str:
        """What its file is called."""
        name = self.run_name(attempt)
        if attempt.encoder:
            name = attempt.name + (f"-seed-{self.seed}" if self.seed else "")
        return f"{name}-labels-{self.labels}" if self.labels else name

    def run_name(self, attempt: Attempt) -> str:
        """What the folder of its training is called."""
        return f"{attempt.name}-{self.steps}" + (f"-seed-{self.seed}" if self.seed else "")

    def dataset(self) -> Path:
        """Return EuroSAT as a dataset."""
        out = self.work / "eurosat"
        if not (out / "dataset.json").is_file():
            # As the task imports it, so that features are shared with bench/transfer.py.
            self.seco("dataset", "import", "images", self.eurosat, out, "--gsd", "10")
        return out

    def trained(self, attempt: Attempt) -> str:
        """Train, or go on, and return the encoder's path."""
        if attempt.encoder:
            return attempt.encoder
        run = self.work / "runs" / self.run_name(attempt)
        metrics = read_metrics(run / METRICS_NAME) if (run / METRICS_NAME).is_file() else []
        done = max((int(m["step"]) for m in metrics), default=0) >= self.steps
        if not (done and (run / "encoder" / "encoder.safetensors").is_file()):
            data = self.dataset() if attempt.data == "eurosat" else self.places
            if data is None:
                raise SystemExit(
                    f"bench: {attempt.name} needs --places, a dataset of places in several seasons"
                )
            resume = ("--resume",) if (run / "config.yaml").is_file() else ()
            self.seco(
                "pretrain", "--data", data, "--out", run, "--steps", str(self.steps), "--split-seed", str(self.seed),
                "--seed", str(self.seed), *COMMON, *attempt.flags, *resume,
            )  # fmt: skip
        return str(run)

    def validation(self, encoder: str, size: int) -> dict[str, float]:
        """Return the probe's best accuracy on the validation part and its regularisation; the test part is not touched."""
        dataset = open_dataset(self.dataset())
        options = Options(size=(size,), num_labels=self.labels)
        case = image_case(dataset, self.seed, options)
        store = FeatureStore(load_encoder(encoder), dataset, options)
        features = store.get(case.train_rows, ("features",))["features"]
        model, tried = choose_linear(features, case.train_labels, case.parts, regs=REGULARISATIONS)
        held = int((case.parts == VALIDATE).sum())
        return {
            "accuracy": max(tried.values()), "reg": model.reg, "num_fitted": int((case.parts == FIT).sum()),
            "num_validation": held,
        }  # fmt: skip

    def test(self, encoder: str, size: int) -> list[dict[str, Any]]:
        """Return the rows of `seco evaluate`, test part and all."""
        out = self.work / "rows.json"
        few = ("--num-labels", str(self.labels)) if self.labels else ()
        self.seco(
            "evaluate", encoder, "--task", "eurosat", "--data", self.dataset(), "--split-seeds", str(self.seed), "--size",
            str(size), "--probe", "linear", *few, "--json", out,
        )  # fmt: skip
        return json.loads(out.read_text(encoding="utf-8"))["rows"]

    def run(self, attempt: Attempt, *, test: bool) -> None:
        """Train, judge at each size that is missing, and write the attempt's JSON after each."""
        file = self.results / f"{self.name(attempt)}.json"
        about = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        started = time.time()
        encoder = self.trained(attempt)
        about.setdefault("seconds_of_the_last_start", round(time.time() - started))
        about |= {
            "attempt": dataclasses.asdict(attempt), "steps": 0 if attempt.encoder else self.steps, "labels": self.labels,
            "seed": self.seed, "threads": os.environ.get("OMP_NUM_THREADS"),
            "environment": {k: v for k, v in environment().items() if k != "command"},
        }  # fmt: skip
        for kind in ("validation", "test") if test else ("validation",):
            found = about.setdefault(kind, {})
            for size in self.sizes:
                if str(size) not in found:
                    judge = self.validation if kind == "validation" else self.test
                    found[str(size)] = judge(encoder, size)
                    write_json(file, about)
        told = ", ".join(f"{s} px {100 * v['accuracy']:.2f}" for s, v in about["validation"].items())
        print(f"{self.name(attempt)}: validation {told}", flush=True)


def table(results: Path) -> str:
    """Return what there is as Markdown, by labels and the best validation accuracy."""
    found = [json.loads(f.read_text(encoding="utf-8")) for f in sorted(results.glob("*.json"))]
    lines = [
        "| attempt | steps | seed | labels | size | validation | test (95% interval) |",
        "|---" * 7 + "|",
    ]
    rows = []
    for about in found:
        for size, value in about["validation"].items():
            tested = [r for r in about.get("test", {}).get(size, []) if r["encoder"] != "majority"]
            words = "".join(
                f"{100 * r['value']:.1f} ({100 * r['ci_low']:.1f}-{100 * r['ci_high']:.1f})" for r in tested
            )
            name = about["attempt"]["name"]
            cells = [
                name,
                about["steps"] or "",
                about.get("seed", 0),
                about["labels"] or "all",
                size,
                f"{100 * value['accuracy']:.2f}",
                words,
            ]
            rows.append(((about["labels"] or np.inf, int(size), value["accuracy"]), cells))
    return "\n".join(
        [*lines, *("| " + " | ".join(map(str, c)) + " |" for _, c in sorted(rows, key=lambda r: r[0]))]
    )


def main() -> None:
    """Do what is missing of the attempts asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = os.environ.get("SECO_DATA")
    parser.add_argument("--eurosat", type=Path, default=Path(root) / "EuroSAT.zip" if root else None)
    parser.add_argument("--places", type=Path, help="dataset of places, for attempts that see one")
    parser.add_argument("--work", type=Path, default=Path("bench-out/best"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="one JSON an attempt")
    parser.add_argument("--only", default="", help="attempts whose names contain this, comma-separated")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--labels", type=int, help="labelled training images; default: all")
    parser.add_argument("--sizes", default="64", help="edges to judge at, comma-separated")
    parser.add_argument(
        "--test", action="store_true", help="score the test part too: of what was chosen, at the end"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the split, of the labels drawn and of training"
    )
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if args.table:
        print(table(args.results))
        return
    if args.eurosat is None:
        raise SystemExit("bench: --eurosat (or $SECO_DATA) is missing: EuroSAT.zip")
    args.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        eurosat=args.eurosat, places=args.places, work=args.work, results=args.results, steps=args.steps,
        labels=args.labels, sizes=tuple(int(s) for s in args.sizes.split(",")), seed=args.seed,
    )  # fmt: skip
    for attempt in ATTEMPTS:
        if any(word in attempt.name for word in args.only.split(",")):
            bench.run(attempt, test=args.test)


if __name__ == "__main__":
    main()
