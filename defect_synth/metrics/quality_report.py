"""The report on generated defects: figures with full names, by defect category, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1
"""Version of `quality.json`."""


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
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


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
        return {"format": FORMAT, **values}

    def table(self) -> str:
        """Markdown table of figures by defect category, followed by what was skipped and by the notes."""
        rows: dict[str, dict[str, Figure]] = {}
        for quality in self.defects:
            for figure in quality.figures:
                rows.setdefault(figure.name, {})[quality.defect] = figure
        names = [quality.defect for quality in self.defects]
        lines = [f"## {self.category}: {self.source}", "", f"| figure | better | {' | '.join(names)} |"]
        lines.append("|---|---|" + "---|" * len(names))
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
