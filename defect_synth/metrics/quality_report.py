"""The report on generated defects: figures with full names, by defect category, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1
"""Version of `quality.json`."""

_GOOD_AUC = 0.9  # from here on a mask shows where the change is


@dataclass(frozen=True)
class Figure:
    """One number of a report and all that is needed to read it.

    Attributes:
        metric: Such as `KID x1000`, `MMD x1000`, `precision`, `clustered LPIPS` or `mask area distance`.
        network: Name of the feature extractor; empty if the figure needs no features.
        view: `image`, `crop` (the defect and its surroundings), `mask`, or empty.
        against: `training defects`, `held-out defects`, `real defects` (both), or empty.
        value: The number.
        low: Lower end of the 95 % interval, None if there is none.
        high: Upper end of the interval.
        better: `lower`, `higher`, `near 1`, or empty if no direction is better.
        note: What a reader must know beside the number.
        by_chance: What equal distributions stay below with so few images; None if that is not known.
    """

    metric: str
    network: str
    view: str
    against: str
    value: float
    low: float | None = None
    high: float | None = None
    better: str = ""
    note: str = ""
    by_chance: float | None = None

    @property
    def name(self) -> str:
        """The full name, which is the same for the same figure of another source."""
        network = f" ({self.network})" if self.network else ""
        view = {"image": ", whole image", "crop": ", defect crop"}.get(self.view, "")
        against = f", to {self.against}" if self.against else ""
        return f"{self.metric}{network}{view}{against}"

    @property
    def text(self) -> str:
        """The number with its interval, to three significant digits."""
        if self.low is None or self.high is None:
            return _short(self.value)
        return f"{_short(self.value)} [{_short(self.low)}, {_short(self.high)}]"


def _short(value: float) -> str:
    """A number as it is read aloud, never in powers of ten."""
    size = abs(value)
    if size >= 1e9:
        return "over a billion" if value > 0 else "below minus a billion"
    if size >= 1e6:
        return f"{value / 1e6:.3g} million"
    if size >= 100:
        return f"{value:,.0f}" if size >= 1e4 else f"{value:.0f}"
    if 0 < size < 1e-4:
        return "below 0.0001" if value > 0 else "-0.0001 to 0"
    return f"{value:.3g}"


@dataclass(frozen=True)
class Neighbour:
    """A generated image and the training image nearest to it.

    Attributes:
        seed: Seed of the generated image.
        real: Name of the training image.
        distance: Distance of the defect crops in the features of the report's first extractor.
    """

    seed: int
    real: str
    distance: float


@dataclass(frozen=True)
class DefectQuality:
    """All figures of one defect category.

    Attributes:
        defect: Defect category.
        generated: Number of generated images.
        training: Number of real images that the generator was trained on, or of all if none are held out.
        held_out: Number of other real images.
        figures: The figures in the order of the report.
        skipped: Which figures could not be computed, and why.
        closest: The generated images that are nearest to a training image, nearest first.
    """

    defect: str
    generated: int
    training: int
    held_out: int
    figures: tuple[Figure, ...]
    skipped: tuple[str, ...] = ()
    closest: tuple[Neighbour, ...] = ()

    def value(self, name: str) -> float:
        """The value of a figure by its full name.

        Raises:
            KeyError: There is no such figure.
        """
        return {figure.name: figure for figure in self.figures}[name].value

    @property
    def verdict(self) -> dict[str, str]:
        """What the figures say in words, by question.

        A difference is named only where the interval of a figure, or its bound for equal distributions, excludes that
        there is none. With few real images only large differences are found.
        """
        return {
            "like real ones": _likeness(self.figures),
            "copies of training images": _copies(self.figures),
            "masks like real ones": _mask_shapes(self.figures),
            "mask where the change is": _mask_places(self.figures),
        }


def _likeness(figures: Sequence[Figure]) -> str:
    found = [figure for figure in figures if figure.metric in ("KID x1000", "MMD x1000")]
    if not found:
        return "not known"
    # Images that the generator has never seen count, where there are any.
    against = "held-out defects" if any(f.against == "held-out defects" for f in found) else "training defects"
    judged = [f for f in found if f.network == found[0].network and f.against == against and f.low is not None]
    views = {"image": "the whole image", "crop": "the defect"}
    differ = [views[f.view] for f in judged if f.low is not None and f.low > 0]
    if differ:
        return f"no, {' and '.join(differ)} differs" if len(differ) == 1 else f"no, {' and '.join(differ)} differ"
    return "no difference found" if judged else "not known, too few images"


def _copies(figures: Sequence[Figure]) -> str:
    ratios = [figure for figure in figures if figure.metric == "nearest-neighbour ratio" and figure.high is not None]
    if not ratios:
        return "not known, no held-out images"
    return "suspected" if any(f.high is not None and f.high < 1 for f in ratios) else "none found"


def _mask_shapes(figures: Sequence[Figure]) -> str:
    bounded = [figure for figure in figures if figure.by_chance is not None]
    if not bounded:
        return "not known"
    differ = [f.metric.split()[1] for f in bounded if f.by_chance is not None and f.value > f.by_chance]
    return f"no, {', '.join(differ)} differ" if differ else "no difference found"


def _mask_places(figures: Sequence[Figure]) -> str:
    values = {figure.metric: figure.value for figure in figures}
    if "change outside the mask" not in values:
        return "not known, no clean images"
    outside, auc = values["change outside the mask"], values["mask-change AUC"]
    if outside == 0:
        return "exactly"
    return f"{'mostly' if auc >= _GOOD_AUC else 'no'}, AUC {_short(auc)}, {_short(outside)} grey levels outside"


@dataclass(frozen=True)
class QualityReport:
    """The report on one source.

    Attributes:
        category: Object category.
        source: What the caller calls the source.
        digest: Digest of the source.
        defects: One entry for each defect category.
        about: Versions, networks and settings.
    """

    category: str
    source: str
    digest: str
    defects: tuple[DefectQuality, ...]
    about: Mapping[str, str] = field(default_factory=dict)

    def of(self, defect: str) -> DefectQuality:
        """The entry of one defect category.

        Raises:
            KeyError: The category was not measured.
        """
        return {quality.defect: quality for quality in self.defects}[defect]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; each figure also has its full `name`."""
        values = asdict(self)
        for entry, quality in zip(values["defects"], self.defects, strict=True):
            for written, figure in zip(entry["figures"], quality.figures, strict=True):
                written["name"] = figure.name
            entry["verdict"] = quality.verdict
        return {"format": FORMAT, **values}

    def table(self) -> str:
        """Markdown: the verdict, the figures by defect category, what was skipped, and the notes."""
        rows: dict[str, dict[str, Figure]] = {}
        for quality in self.defects:
            for figure in quality.figures:
                rows.setdefault(figure.name, {})[quality.defect] = figure
        names = [quality.defect for quality in self.defects]
        verdicts = [quality.verdict for quality in self.defects]
        lines = [f"## {self.category}: {self.source}", "", f"| verdict | {' | '.join(names)} |"]
        lines.append("|---|" + "---|" * len(names))
        for question in verdicts[0] if verdicts else ():
            lines.append(f"| {question} | {' | '.join(verdict[question] for verdict in verdicts)} |")
        lines += ["", f"| figure | better | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
        counts = " | ".join(f"{q.generated} / {q.training} / {q.held_out}" for q in self.defects)
        lines.append(f"| images: generated / training / held out | | {counts} |")
        for name, row in rows.items():
            cells = " | ".join(row[defect].text if defect in row else "" for defect in names)
            lines.append(f"| {name} | {next(iter(row.values())).better} | {cells} |")
        notes = dict.fromkeys(f"{f.metric}: {f.note}" for q in self.defects for f in q.figures if f.note)
        skipped = [f"{quality.defect}: {reason}" for quality in self.defects for reason in quality.skipped]
        for title, texts in (("Not computed", skipped), ("Notes", list(notes))):
            if texts:
                lines += ["", f"{title}:", *(f"- {text}" for text in texts)]
        lines += ["", ", ".join(f"{key} {value}" for key, value in self.about.items())]
        return "\n".join(lines) + "\n"
