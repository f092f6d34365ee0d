"""One number of a quality report, with its whole name, and the reports that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1
"""Of `quality.json`."""


@dataclass(frozen=True)
class Figure:
    """A number that says what it is.

    Attributes:
        metric: `KID x1000`, `MMD x1000`, `precision`, `clustered LPIPS`, `mask area`, ...
        network: What made the features; empty where none did.
        view: `image`, `crop` (the defect and its surroundings), `mask`, or empty.
        against: `training defects`, `held-out defects`, `real defects` (both), or empty.
        value: The number.
        low: Lower end of a 95 % interval, where there is one.
        high: Upper end of it.
        better: `lower`, `higher`, `near 1`, or empty where neither is better by itself.
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
        """All of it in words, the same for the same figure of another source."""
        network = f" ({self.network})" if self.network else ""
        view = {"image": ", whole image", "crop": ", defect crop"}.get(self.view, "")
        against = f", to {self.against}" if self.against else ""
        return f"{self.metric}{network}{view}{against}"

    @property
    def text(self) -> str:
        """The number with its interval, three significant digits."""
        if self.low is None or self.high is None:
            return _short(self.value)
        return f"{_short(self.value)} [{_short(self.low)}, {_short(self.high)}]"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Neighbour:
    """A generated image and the training image closest to it.

    Attributes:
        seed: Of the generated image.
        real: Name of the training image.
        distance: In the features of the report's first extractor, defect crops.
    """

    seed: int
    real: str
    distance: float


@dataclass(frozen=True)
class DefectQuality:
    """All figures of one defect.

    Attributes:
        defect: Defect category.
        generated: Generated images measured.
        training: Real images that the generator has learnt from (or all, where nothing is held out).
        held_out: Other real images of this defect.
        figures: In the order of the report.
        skipped: What could not be computed, and why.
        closest: The generated images nearest to a training image, nearest first.
    """

    defect: str
    generated: int
    training: int
    held_out: int
    figures: tuple[Figure, ...]
    skipped: tuple[str, ...] = ()
    closest: tuple[Neighbour, ...] = ()

    def value(self, name: str) -> float:
        """The figure with this `name`.

        Raises:
            KeyError: There is none.
        """
        return {figure.name: figure for figure in self.figures}[name].value


@dataclass(frozen=True)
class Quality:
    """The report on one source.

    Attributes:
        category: Object category.
        source: What was measured, as the caller calls it.
        digest: Of the source, empty where it has none.
        defects: One entry for each defect.
        about: Versions, networks and settings.
    """

    category: str
    source: str
    digest: str
    defects: tuple[DefectQuality, ...]
    about: Mapping[str, str] = field(default_factory=dict)

    def of(self, defect: str) -> DefectQuality:
        """The entry of one defect.

        Raises:
            KeyError: It was not measured.
        """
        return {quality.defect: quality for quality in self.defects}[defect]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`; each figure has its `name`."""
        values = asdict(self)
        for entry, quality in zip(values["defects"], self.defects, strict=True):
            for written, figure in zip(entry["figures"], quality.figures, strict=True):
                written["name"] = figure.name
        return {"format": FORMAT, **values}

    def table(self) -> str:
        """Markdown: figures down, defects across; then what was skipped and the notes."""
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
