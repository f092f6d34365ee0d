"""Two environment faults that would otherwise be our users' first impression."""

from __future__ import annotations


def ensure_torchvision() -> None:
    """Make `import torchvision` work where a CUDA-built torchvision sits beside a CPU-only torch.

    PyPI's torchvision links CUDA; beside a CPU build of torch its compiled part is skipped in silence and the import
    then fails with "operator torchvision::nms does not exist". Declaring the two missing operators lets the rest of
    torchvision (all that timm and anomalib use) load; calling them still raises torchvision's own error. Call this
    before importing timm, torchvision or anomalib. Does nothing where the import works.
    """
    import sys

    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return
    from torch import library

    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        try:
            library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        except RuntimeError:
            continue  # this operator is there
    import torchvision  # noqa: F401
