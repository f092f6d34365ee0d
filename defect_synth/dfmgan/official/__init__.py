"""Import of snapshots of the authors' trainer and of StyleGAN2-ADA, without executing anything in them.

`import_snapshot` does all of it; the other names are its steps.
"""

from defect_synth.dfmgan.official.importer import ImportedSnapshot, convert_snapshot, import_snapshot
from defect_synth.dfmgan.official.names import (
    to_official_discriminator,
    to_official_generator,
    to_ours_discriminator,
    to_ours_generator,
)
from defect_synth.dfmgan.official.settings import model_config
from defect_synth.dfmgan.official.snapshot import NetworkState, OfficialSnapshot, read_snapshot

__all__ = [
    "ImportedSnapshot",
    "NetworkState",
    "OfficialSnapshot",
    "convert_snapshot",
    "import_snapshot",
    "model_config",
    "read_snapshot",
    "to_official_discriminator",
    "to_official_generator",
    "to_ours_discriminator",
    "to_ours_generator",
]
