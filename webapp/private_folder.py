"""Folders that only their owner may enter: they hold uploads, password hashes, sessions, and other people's texts."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def private_folder(path: Path) -> Path:
    """The folder, made if need be, with mode 0700. A folder of another user keeps its mode: it is theirs to set.

    Raises:
        ImproperlyConfigured: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = path.stat()
        if state.st_uid == os.getuid() and state.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise ImproperlyConfigured(f"The folder {path} cannot be made or entered ({error.strerror}). Name another one "
                                   "in CONCORD_VAR, CONCORD_ARTIFACTS or CONCORD_UPLOADS.") from error
    return path
