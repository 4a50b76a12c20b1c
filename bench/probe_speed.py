"""How long a linear probe on all of EuroSAT takes from a cold start, against one bare forward pass, and how good it is.

In one run, on random ResNet-18 weights at 64 px (time does not depend on the weights):
  - bare: the encoder alone over pixels that lie in memory, nothing else, with PyTorch's convolutions;
  - bare, ours: the same with products for small maps (`multiply_small_maps`), which the probe uses as well;
  - probe: `seco evaluate ENCODER --task eurosat --probe linear`, a new process, an empty cache, import included;
  - paper: accuracy of the original's head, 100 epochs of Adam, on the same features and split (`paper.train_head`).
The issue wants probe under 120 s on two cores, probe / bare at most 1.3, and accuracy no worse than the paper's probe.

  python bench/probe_speed.py --data EuroSAT.zip --out speed.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seco.nets.feed import Feed
from seco.probes import paper
from seco.probes.classify import MAJORITY
from seco.probes.features import FeatureStore
from seco.probes.labelled import image_case, open_labelled
from seco.probes.linear import FIT
from seco.probes.scores import accuracy
from seco.runs import environment, write_json
from seco.tasks.eurosat import Options
from seco.use.load import load_encoder

BATCH = 64


def cold(encoder: str, data: Path, cache: Path) -> tuple[float, dict[str, Any]]:
    """Return the seconds of the command as a new process with an empty cache, and its row."""
    out = cache / "row.json"
    words = [
        "evaluate",
        encoder,
        "--task",
        "eurosat",
        "--data",
        str(data),
        "--probe",
        "linear",
        "--json",
        str(out),
    ]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "seco.cli", *words],
        check=True, env=os.environ | {"SECO_CACHE": str(cache)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    return seconds, next(r for r in rows if r["encoder"] != MAJORITY)


def bare(net: torch.nn.Module, feed: Feed, pixels: np.ndarray) -> float:
    """Return the seconds of one forward pass over pixels in memory."""
    started = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH):
            net(feed(pixels[start : start + BATCH]))
    return time.perf_counter() - started


def paper_accuracy(store: FeatureStore) -> tuple[dict[str, float], float]:
    """Return the test accuracy of the original's head on kept features, by what it is fitted on, and the seconds."""
    case = image_case(store.dataset, 0, Options())
    features = store.get(np.concatenate([case.train_rows, case.test_rows]), ("features",))["features"]
    train, test = np.split(features, [len(case.train_rows)])
    fit = case.parts == FIT
    started = time.perf_counter()
    theirs = {}
    for name, part in (("fitted on 60%", fit), ("fitted on 80%", np.ones_like(fit))):
        logits = paper.train_head(
            train[part], case.train_labels[part], test, num_classes=len(case.classes), loss="softmax", seed=0
        )
        theirs[name] = accuracy(case.test_labels, logits.argmax(1))
    return theirs, time.perf_counter() - started


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = os.environ.get("SECO_DATA")
    parser.add_argument("--data", type=Path, default=Path(root) / "EuroSAT.zip" if root else None)
    parser.add_argument("--encoder", default="random:resnet18")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--no-paper", action="store_true", help="leave the original's head out: it takes minutes"
    )
    parser.add_argument("--out", type=Path, help="write the figures there (JSON)")
    args = parser.parse_args()
    if args.data is None:
        raise SystemExit("bench: --data (or $SECO_DATA) is missing: EuroSAT.zip")
    probes: list[float] = []
    bares: dict[str, list[float]] = {"bare": [], "bare, ours": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.repeats):
            cache = Path(folder) / str(number)
            cache.mkdir()
            seconds, row = cold(args.encoder, args.data, cache)
            probes.append(seconds)
            os.environ["SECO_CACHE"] = str(cache)
            dataset = open_labelled(args.data, settings=lambda _: {"gsd": 10.0})
            encoder, plain = load_encoder(args.encoder), load_encoder(args.encoder)
            store = FeatureStore(encoder, dataset, Options())  # which changes its encoder's convolutions
            pixels = np.array(store.tier.pixels)
            feed = Feed(
                encoder.spec,
                store.tier.bands,
                normalise=store.normalise,
                stats=(store.tier.mean, store.tier.std),
            )
            for name, net in (("bare", plain.net), ("bare, ours", encoder.net)):
                bares[name].append(bare(net["backbone"], feed, pixels))
            print(
                f"probe {seconds:.1f} s; "
                + "; ".join(f"{n} {s[-1]:.1f} s, ratio {seconds / s[-1]:.2f}" for n, s in bares.items()),
                flush=True,
            )
        theirs, paper_s = (None, None) if args.no_paper else paper_accuracy(store)
    about = {
        "encoder": args.encoder, "images": len(pixels), "probe_s": probes, "bare_s": bares,
        "median_probe_s": float(np.median(probes)),
        "median_ratio": {n: float(np.median(np.array(probes) / np.array(s))) for n, s in bares.items()},
        "accuracy": row["value"], "paper_accuracy": theirs, "paper_head_s": paper_s,
        "environment": {k: v for k, v in environment().items() if k != "command"},
    }  # fmt: skip
    print(json.dumps({k: v for k, v in about.items() if k != "environment"}, indent=1))
    if args.out:
        write_json(args.out, about)


if __name__ == "__main__":
    main()
