"""Makes folders and files that only their owner can read: they hold uploads, password hashes, sessions and texts."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def private_folder(path: Path) -> Path:
    """Create the folder if necessary and set mode 0700. A folder that belongs to another user keeps its mode.

    Raises:
        ImproperlyConfigured: it cannot be created, or it is a shared folder whose mode must not change.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = path.stat()
        if state.st_mode & stat.S_ISVTX or path.resolve() == Path(path.resolve().anchor):
            raise ImproperlyConfigured(f"The folder {path} is everybody's. Name one that is Concord's alone, such as "
                                       f"{path / 'concord'}, in CONCORD_VAR, CONCORD_ARTIFACTS or CONCORD_UPLOADS.")
        if state.st_uid == os.getuid() and state.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise ImproperlyConfigured(f"The folder {path} cannot be made or entered ({error.strerror}). Name another one "
                                   "in CONCORD_VAR, CONCORD_ARTIFACTS or CONCORD_UPLOADS.") from error
    return path


def private_file(path: Path) -> Path:
    """Create the file empty if necessary, and let only its owner and group read it. If that fails, the error appears
    when the file is opened."""
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600))
        state = path.stat()
        if state.st_uid == os.getuid() and state.st_mode & 0o007:
            path.chmod(stat.S_IMODE(state.st_mode) & 0o770)
    return path
