"""WebDataset: tar shards of `<key>.png`, `<key>.mask.png`, `<key>.clean.png`, `<key>.cls` and `<key>.json`."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from defect_synth.atomic import replacing, replacing_folder
from defect_synth.data.png import encode_png
from defect_synth.export.labels import label_numbers
from defect_synth.export.writing import json_text, write_text
from defect_synth.samples import DefectSample, mask_to_pixels

PER_SHARD = 1000


def write_webdataset(folder: Path, samples: Iterable[DefectSample], defects: Sequence[str]) -> int:
    """Write shards of up to 1,000 samples; `<key>.cls` is a position in the list `classes.json`.

    Returns the number of samples.
    """
    labels = label_numbers(defects)
    count = 0
    with replacing_folder(folder) as partial:
        shard: list[DefectSample] = []
        for sample in samples:
            shard.append(sample)
            if len(shard) == PER_SHARD:
                _write(partial, count, shard, labels)
                count, shard = count + len(shard), []
        if shard:
            _write(partial, count, shard, labels)
            count += len(shard)
        write_text(partial / "classes.json", json_text(list(labels)))
    return count


def _write(folder: Path, first: int, samples: list[DefectSample], labels: Mapping[str, int]) -> None:
    with (
        replacing(folder / f"shard-{first // PER_SHARD:06d}.tar") as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for number, sample in enumerate(samples, start=first):
            members = {
                "png": encode_png(sample.image),
                "mask.png": encode_png(mask_to_pixels(sample.mask)),
                "cls": str(labels[sample.defect]).encode(),
                "json": json_text(sample.provenance.to_json()).encode(),
            }
            if sample.clean is not None:
                members["clean.png"] = encode_png(sample.clean)
            for extension, content in members.items():
                info = tarfile.TarInfo(f"{number:06d}.{extension}")  # no owner and no time: equal bytes
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
