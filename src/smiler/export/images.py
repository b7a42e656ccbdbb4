"""The CT beside exported masks: a link to the file, or a copy; a DICOM series becomes NIfTI."""

import errno
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from smiler.domain.cohort import Case, Cohort
from smiler.domain.errors import BadInput
from smiler.domain.fetching import fetched
from smiler.domain.files import cannot_write, replacing
from smiler.domain.remote import Remote
from smiler.export.pieces import ExportRequest
from smiler.formats.nifti import write_ct
from smiler.formats.volumes import is_nifti, read_ct

NO_RIGHT = 1314
"""Windows: only some users may make links."""


def put_image(cohort: Cohort, case: Case, target: Path, request: ExportRequest) -> None:
    """The case's CT at `target` (.nii.gz). What is there already and the same link is left alone."""
    source = cohort.image_path(case).absolute()
    if not is_nifti(source):
        ct = read_ct(source, request.reading)
        write_ct(target, ct.hu, ct.grid)
    elif request.copy_images or isinstance(source, Remote) or not source.name.endswith(".nii.gz"):
        copy_image(source, target, request)
    else:
        link(source, target)


def copy_image(source: Path, target: Path, request: ExportRequest) -> None:
    """A copy of a .nii.gz; what is not gzipped is read and written anew."""
    if source.name.endswith(".nii.gz"):
        with replacing(target, ".nii.gz") as temporary, fetched(source) as file:
            shutil.copyfile(file, temporary)
    else:
        ct = read_ct(source, request.reading)
        write_ct(target, ct.hu, ct.grid)


def link(source: Path, target: Path) -> None:
    """A symbolic link that is either the old or the new one."""
    make_folder(target.parent)
    try:
        temporary = target.with_name(f".{target.name}.link")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.realpath(source), target_is_directory=source.is_dir())
        temporary.replace(target)
    except OSError as error:
        if error.errno == errno.EPERM or getattr(error, "winerror", None) == NO_RIGHT:
            got, do = error.strerror or str(error), "add --copy-images"
            raise BadInput("no link to the CT can be made here", where=str(target), got=got, do=do) from error
        raise cannot_write(target, error) from error


def prune(folder: Path, names: Collection[str]) -> None:
    """Remove an earlier export's masks and notes that this one doesn't write: a proposal must not stay behind."""
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.name.endswith((".nii.gz", ".json")) and path.name not in names:
            try:
                path.unlink()
            except OSError as error:
                raise cannot_write(path, error) from error


def make_folder(folder: Path) -> None:
    """The folder, or BadInput."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
