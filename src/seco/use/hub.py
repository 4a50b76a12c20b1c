"""A folder ready for a model hub: weights for timm and for seco, timm's config.json, and a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
from safetensors import SafetensorError
from safetensors.torch import save_file

import seco
from seco.errors import CheckpointError, ConfigError
from seco.nets.encoder import SPEC_KEY, WEIGHTS_NAME, Encoder
from seco.nets.spec import EncoderSpec
from seco.runs import write_atomic, write_json

if TYPE_CHECKING:
    from seco.use.export import Options

TIMM_WEIGHTS = "model.safetensors"
CARD = "README.md"
COLUMNS = (
    "encoder",
    "task",
    "probe",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "num_train",
    "size",
    "normalise",
    "seed",
)
MOST_ROWS = 300
LIMITS = """## Limits

Other bands, units, resolutions or sensors than those above may make features worthless, without an error in programs that
do not check them. Places on which it was trained are no test of it. Nothing is known of its errors by region or season
beyond the results above; do not decide about people or their property by it alone."""


def to_hub(encoder: Encoder, out: Path, options: Options) -> list[str]:
    """Write the folder under another name, load it as timm would, compare, rename."""
    from seco.use.export import backbone_state, compare

    rows = read_rows(options.scores) if options.scores else []
    spec = encoder.spec
    temporary = out.with_name(f".{out.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        encoder.save(temporary)
        metadata = {"format": "pt", SPEC_KEY: json.dumps(spec.to_json())}
        save_file(backbone_state(encoder), temporary / TIMM_WEIGHTS, metadata=metadata)
        write_json(temporary / "config.json", timm_config(spec))
        write_atomic(temporary / CARD, card(spec, rows, options, name=out.name))
        net = timm.create_model(f"local-dir:{temporary}", pretrained=True)
        compare(encoder, net.eval(), what=f"{out} loaded by timm")
        for file in temporary.iterdir():
            file.chmod(0o644)  # safetensors' own files are for their owner alone
        temporary.rename(out)
    except (OSError, SafetensorError) as err:
        raise CheckpointError(f"cannot write {out}: {err}; choose another folder") from err
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [
        f"{out}: {CARD}, config.json, {TIMM_WEIGHTS} (for timm), {WEIGHTS_NAME} and spec.json (for seco, heads included)",
        f'checked: timm.create_model("local-dir:{out}", pretrained=True) gives the same features bit for bit',
        f"the card shows {len(rows)} rows of results"
        if rows
        else "the card shows no results; give them with --scores",
    ]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read result rows (docs/results-schema.md).

    Raises:
        ConfigError: it is no such file.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        plain = [dict(r) for r in rows]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        raise ConfigError(
            f"cannot read scores {path} ({err}); give what `seco evaluate --json` writes"
        ) from err
    if not plain or len(plain) > MOST_ROWS:
        raise ConfigError(f"scores {path} has {len(plain)} rows; a card shows 1 to {MOST_ROWS}")
    return plain


def timm_config(spec: EncoderSpec) -> dict[str, Any]:
    """Return `config.json` as timm's hub loader reads it. Its mean and deviation are of input scaled to 0-1 where bytes."""
    scale = 255.0 if spec.bands[0].units == "display" else 1.0
    known = timm.get_pretrained_cfg(spec.arch)
    px = int(known.input_size[-1]) if known is not None and known.fixed_input_size else spec.patch_px
    pretrained: dict[str, Any] = {
        "input_size": [len(spec.bands), px, px],
        "mean": [m / scale for m in spec.mean],
        "std": [s / scale for s in spec.std],
        "num_classes": 0,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "license": spec.licence or "other",
    }
    if known is not None:
        pretrained |= {"first_conv": known.first_conv, "classifier": known.classifier}
        pretrained["fixed_input_size"] = bool(known.fixed_input_size)
    return {
        "architecture": spec.arch,
        "num_classes": 0,
        "num_features": spec.feature_dim,
        "model_args": {"in_chans": len(spec.bands), "num_classes": 0},
        "pretrained_cfg": pretrained,
    }


def card(spec: EncoderSpec, rows: Sequence[Mapping[str, Any]], options: Options, *, name: str) -> str:
    """Return the model card as Markdown with the hub's YAML head."""
    title = " ".join((options.title or name).split())
    licence = options.licence or spec.licence or "not stated"
    parts = [
        _head(licence),
        f"# {title}\n\nAn encoder of satellite images: a {spec.arch} with {spec.feature_dim} features.",
        _facts(spec, options, licence),
        _bands(spec),
        "## Results\n\n" + (_results(rows) if rows else "None were given when this card was written."),
        _use(spec, name),
        LIMITS,
        _citation(spec),
    ]
    return "\n\n".join(parts) + "\n"


def _head(licence: str) -> str:
    short = licence.lower() if licence.replace("-", "").replace(".", "").isalnum() else "other"
    lines = ["---", "library_name: timm", "pipeline_tag: image-feature-extraction", f"license: {short}"]
    return "\n".join(
        [*lines, "tags:", "- remote-sensing", "- satellite-imagery", "- self-supervised-learning", "---"]
    )


def _facts(spec: EncoderSpec, options: Options, licence: str) -> str:
    rows = {
        "architecture": f"`{spec.arch}` (timm)",
        "method": spec.method,
        "started from": spec.init,
        "steps": str(spec.num_steps) if spec.num_steps else "not stated",
        "data": options.data or ("not stated" if not spec.data_fingerprint else "see below"),
        "fingerprint of the data": spec.data_fingerprint or "none",
        "places trained on": str(len(spec.trained_boxes))
        if len(spec.trained_boxes)
        else "positions not kept",
        "patches": f"{spec.patch_px} px",
        "outputs": ", ".join(("features", *spec.heads)),
        "source of the weights": spec.source or f"trained with seco {seco.__version__}",
        "licence": licence,
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {_cell(v)} |" for k, v in rows.items())])


def _bands(spec: EncoderSpec) -> str:
    head = [
        "## What it is fed",
        "",
        "| band | units | centre (nm) | mean | deviation |",
        "|---|---|---|---|---|",
    ]
    body = [
        f"| {b.name}{f' ({b.common_name})' if b.common_name and b.common_name != b.name else ''} | {b.units} "
        f"| {'-' if b.wavelength_nm is None else f'{b.wavelength_nm:g}'} | {m:.6g} | {s:.6g} |"
        for b, m, s in zip(spec.bands, spec.mean, spec.std, strict=True)
    ]
    text = "The encoder sees (stored number - mean) / deviation, bands in this order."
    if spec.clip is not None:
        text += f" Stored numbers are limited to {spec.clip[0]:g} to {spec.clip[1]:g} before."
    stretches = [f"{b.name}: {b.stretch}" for b in spec.bands if b.stretch and b.stretch != "unknown"]
    if stretches:
        text += f" How bytes were made: {'; '.join(stretches)}."
    return "\n".join([*head, *body, "", text])


def _results(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = [c for c in COLUMNS if any(r.get(c) is not None for r in rows)]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(_cell(r.get(c)) for c in columns)} |" for r in rows]
    return (
        "\n".join(lines)
        + "\n\nScores are over the whole test part; columns are explained in seco's result schema."
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _use(spec: EncoderSpec, name: str) -> str:
    names = ", ".join(f'"{b.name}"' for b in spec.bands)
    return f"""## How to load it

With seco, which converts units, orders bands and normalises:

```python
import seco

encoder = seco.load_encoder("{name}")
features = encoder(array, bands=[{names}], units="{spec.bands[0].units}")  # array: (bands, height, width)
```

With timm, where you normalise the input yourself as the table above says:

```python
import timm

model = timm.create_model("local-dir:{name}", pretrained=True).eval()
```

## Intended use

Features for land cover, season and change in imagery of the same bands and a like ground resolution: nearest neighbours,
linear probes, fine-tuning. Compare with colour statistics, random weights and ImageNet weights on your own data first."""


def _citation(spec: EncoderSpec) -> str:
    text = "## Citation\n\n"
    if spec.source:
        text += f"Weights: {spec.source}\n\n"
    if spec.method == "seco":
        text += (
            "Method: Oscar Mañas, Alexandre Lacoste, Xavier Giró-i-Nieto, David Vazquez, Pau Rodríguez: *Seasonal Contrast: "
            "Unsupervised Pre-Training from Uncurated Remote Sensing Data*, ICCV 2021, arXiv 2103.16607.\n\n"
        )
    return text + f"Written by seco {seco.__version__} (package `seasonal-contrast`)."
