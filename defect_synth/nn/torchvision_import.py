"""A work-around for torchvision from PyPI beside a CPU build of torch."""

from __future__ import annotations


def ensure_torchvision() -> None:
    """Make `import torchvision` work if torchvision was built for CUDA and torch for CPUs only.

    The torchvision of PyPI is linked against CUDA. Beside a CPU build of torch its compiled part is skipped silently,
    and the import fails with "operator torchvision::nms does not exist". Once the two missing operators are declared,
    the rest of torchvision can be imported, which is all that timm and anomalib use; calling one of the two still
    raises torchvision's own error. Call this function before importing timm, torchvision or anomalib. It does nothing
    if the import works.
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
            continue  # this operator exists
    import torchvision  # noqa: F401
