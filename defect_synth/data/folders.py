"""Read folder trees: that of MVTec AD, and plain ones with one folder per defect."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from defect_synth.data.records import Draft, is_good
from defect_synth.files import listed

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
UNREAD_SUFFIXES = frozenset({".gif", ".heic", ".heif", ".avif", ".jp2", ".npy", ".dng", ".raw", ".exr"})
MASK_FOLDERS = ("ground_truth", "masks", "mask")


def visible(folder: Path) -> list[Path]:
    """Entries of a folder, sorted; none if there is no such folder.

    Raises:
        DataError: The folder cannot be listed.
    """
    # macOS writes a "._name" beside every file on other file systems; these are not images.
    return [child for child in listed(folder) if not child.name.startswith(".")] if folder.is_dir() else []


def folders_in(folder: Path) -> list[Path]:
    """Subfolders of a folder, sorted."""
    return [child for child in visible(folder) if child.is_dir()]


def images_in(folder: Path) -> list[Path]:
    """Image files of a folder, sorted."""
    return [child for child in visible(folder) if child.suffix.lower() in IMAGE_SUFFIXES and child.is_file()]


def good_folders(root: Path) -> list[Path]:
    """Subfolders whose name says that they hold good images."""
    return [child for child in folders_in(root) if is_good(child.name)]


def looks_mvtec(path: Path) -> bool:
    """Whether `path` is a category in MVTec AD layout, even if images are missing."""
    return bool(good_folders(path / "train")) or ((path / "test").is_dir() and (path / "ground_truth").is_dir())


def read_mvtec(root: Path, category: str | None) -> Draft:
    """Read `train/good`, `test/<defect>` and `ground_truth/<defect>`; defects in `train` are used, too."""
    truth = root / "ground_truth"
    draft = Draft(
        root, category or root.resolve().name, f"{root / 'train' / 'good'}/*.png", f"{truth}/<defect>/*_mask.png"
    )
    for split in ("train", "test"):
        for folder in folders_in(root / split):
            _add_folder(draft, folder, [truth / folder.name], split)
        _note_left_out_files(draft, root / split)
    _offer_all(draft, [truth])
    _note_other_folders(draft, root, ("train", "test", "ground_truth"))
    return draft


def looks_plain(path: Path) -> bool:
    """Whether `path` holds a folder of good images."""
    return bool(good_folders(path))


def read_plain(root: Path, category: str | None) -> Draft:
    """Read `good` and one folder per defect, with masks beside the images or in a folder of masks."""
    masks = f"<image>_mask.png beside each image, or {root / 'masks'}/<defect>/*.png"
    draft = Draft(root, category or root.resolve().name, f"{root / 'good'}/*.png", masks)
    mask_roots = [child for child in folders_in(root) if child.name.lower() in MASK_FOLDERS]
    for folder in folders_in(root):
        if folder not in mask_roots:
            _add_folder(draft, folder, [mask_root / folder.name for mask_root in mask_roots], "")
    _offer_all(draft, mask_roots)
    return draft


def _stem(path: Path) -> str:
    """The name that pairs an image with its mask, however capitals and accents are written (macOS splits accents)."""
    return unicodedata.normalize("NFC", path.stem.lower())


def _add_folder(draft: Draft, folder: Path, mask_folders: Iterable[Path], split: str) -> None:
    """Add the images of a folder; masks are `x_mask` or `x` in `mask_folders`, or `x_mask` in the folder itself."""
    files = images_in(folder)
    masks = {_stem(path): path for path in files if _stem(path).endswith("_mask")}
    images = [path for path in files if path not in masks.values()]
    draft.offered |= set(masks.values())
    for mask_folder in mask_folders:
        masks |= {_stem(path): path for path in images_in(mask_folder)}
    defect = None if is_good(folder.name) else folder.name
    for image in images:
        stem = _stem(image)
        draft.add(image, masks.get(f"{stem}_mask") or masks.get(stem), defect, split)
    draft.unread |= {path for path in visible(folder) if path.suffix.lower() in UNREAD_SUFFIXES}
    _note_left_out(draft, folder)
    if not images and defect is not None:
        draft.unread.add(folder)


def _note_left_out(draft: Draft, folder: Path) -> None:
    """Note links that point nowhere, and folders inside a folder of images."""
    for path in visible(folder):
        if path.is_symlink() and not path.exists():
            draft.leave_out(path, "a link that points nowhere; mend or remove it")
        elif path.is_dir():
            _note_folder(draft, path, f"inside {folder.name}, where images are not looked for; move them up")


def _note_left_out_files(draft: Draft, split: Path) -> None:
    """Note images that lie in a split instead of in a folder of good images or of a defect."""
    for path in images_in(split):
        draft.leave_out(path, "an image outside the folders good and <defect>; move it into one of them")


def _note_folder(draft: Draft, folder: Path, why: str) -> None:
    """Note a folder with images, at any depth, that is not read."""
    if folder.name.lower().rstrip("s") in ("mask", "ground_truth"):
        return
    count = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*"))
    if count:
        draft.leave_out(folder, f"{count} images are not read: a folder {why}")


def _note_other_folders(draft: Draft, root: Path, read: Iterable[str]) -> None:
    """Note folders of a category with images that its layout does not have."""
    known = {name.lower() for name in read}
    for folder in folders_in(root):
        if folder.name.lower() not in known:
            names = ", ".join(sorted(read))
            _note_folder(draft, folder, f"that this layout does not have (it reads {names}); move them there")


def _offer_all(draft: Draft, mask_roots: Iterable[Path]) -> None:
    """Note all masks, also of a defect whose folder of images is missing or spelt differently."""
    for mask_root in mask_roots:
        for folder in folders_in(mask_root):
            draft.offered |= set(images_in(folder))
