"""The two label nomenclatures of BigEarthNet: 43 classes of CORINE Land Cover level 3, and 19 made of 32 of them.

Source: Sumbul et al. 2019 (43 classes), Sumbul et al. 2021 (19 classes: of the 43, 11 that single-date imagery hardly tells
are dropped, 10 are kept, 22 are merged into 9).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from seco.errors import TaskError

_MERGED = {
    "Urban fabric": ("Continuous urban fabric", "Discontinuous urban fabric"),
    "Industrial or commercial units": ("Industrial or commercial units",),
    "Arable land": ("Non-irrigated arable land", "Permanently irrigated land", "Rice fields"),
    "Permanent crops": (
        "Vineyards", "Fruit trees and berry plantations", "Olive groves", "Annual crops associated with permanent crops",
    ),
    "Pastures": ("Pastures",),
    "Complex cultivation patterns": ("Complex cultivation patterns",),
    "Land principally occupied by agriculture, with significant areas of natural vegetation": (
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
    ),
    "Agro-forestry areas": ("Agro-forestry areas",),
    "Broad-leaved forest": ("Broad-leaved forest",),
    "Coniferous forest": ("Coniferous forest",),
    "Mixed forest": ("Mixed forest",),
    "Natural grassland and sparsely vegetated areas": ("Natural grassland", "Sparsely vegetated areas"),
    "Moors, heathland and sclerophyllous vegetation": ("Moors and heathland", "Sclerophyllous vegetation"),
    "Transitional woodland, shrub": ("Transitional woodland/shrub",),
    "Beaches, dunes, sands": ("Beaches, dunes, sands",),
    "Inland wetlands": ("Inland marshes", "Peatbogs"),
    "Coastal wetlands": ("Salt marshes", "Salines"),
    "Inland waters": ("Water courses", "Water bodies"),
    "Marine waters": ("Coastal lagoons", "Estuaries", "Sea and ocean"),
}  # fmt: skip
DROPPED = (
    "Road and rail networks and associated land", "Port areas", "Airports", "Mineral extraction sites", "Dump sites",
    "Construction sites", "Green urban areas", "Sport and leisure facilities", "Bare rock", "Burnt areas",
    "Intertidal flats",
)  # fmt: skip
"""Of the 43, those that are none of the 19."""
CLASSES_19 = tuple(_MERGED)
TO_19 = {old: new for new, olds in _MERGED.items() for old in olds}
CLASSES_43 = tuple(sorted((*TO_19, *DROPPED)))


def in_nomenclature(names: Iterable[str], *, num_classes: int, known: Collection[str]) -> list[str]:
    """Return a patch's labels in the nomenclature of 19 or 43 classes; those without a counterpart go.

    Args:
        names: as they are stored.
        num_classes: 19 or 43.
        known: the nomenclature that `names` are of, CLASSES_19 or CLASSES_43.
    """
    if num_classes == 43 or known is CLASSES_19:
        return sorted(set(names))
    return sorted({TO_19[n] for n in names if n in TO_19})


def nomenclature_of(names: Collection[str], *, num_classes: int) -> tuple[str, ...]:
    """Return which nomenclature the labels of a dataset are of.

    Raises:
        TaskError: they are of neither, or 43 classes are wanted of labels that are of the 19.
    """
    of_43 = set(names) <= set(CLASSES_43)
    of_19 = set(names) <= set(CLASSES_19)
    if not of_43 and not of_19:
        strange = sorted(set(names) - set(CLASSES_43)) if set(names) & set(CLASSES_43) else sorted(names)
        raise TaskError(
            f"labels {', '.join(strange[:3])} are not of BigEarthNet's 43 classes, nor all of its 19; "
            "import it with `seco dataset import bigearthnet`"
        )
    if num_classes == 43 and not of_43:
        raise TaskError("these labels are of the 19 classes (version 2 has no others); say --classes 19")
    return CLASSES_43 if of_43 else CLASSES_19
