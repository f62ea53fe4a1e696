"""Encrypts secrets for one place in the database; they can be decrypted only there.

A sealed text carries its context inside, so that a ciphertext moved to another row, or kept while the row's address
was changed, does not open. Keys are derived from CONCORD_FIELD_KEY (several, newest first, while they are rotated) and,
last, from the site's own secret key. Left out: hardware keys, a key for each team.
"""

from __future__ import annotations

import base64
import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class UnsealError(Exception):
    """The text cannot be decrypted here: it was encrypted with another key or for another place."""


def seal(text: str, context: str) -> str:
    """Encrypt the text with the newest key, for the place named by `context`."""
    return _fernet().encrypt(json.dumps([context, text]).encode()).decode()


def unseal(token: str, context: str) -> str:
    """Decrypt a text that was encrypted for this context.

    Raises:
        UnsealError: it cannot be decrypted. The message says nothing of the secret.
    """
    try:
        sealed_for, text = json.loads(_fernet().decrypt(token.encode()))
    except InvalidToken:
        raise UnsealError from None
    if sealed_for != context:
        raise UnsealError
    return str(text)


def reseal(token: str) -> str:
    """Encrypt the same secret again, for the same place, with the newest key.

    Raises:
        UnsealError: no key of this site decrypts it.
    """
    try:
        return _fernet().rotate(token.encode()).decode()
    except InvalidToken:
        raise UnsealError from None


def _fernet() -> MultiFernet:
    secrets: list[str] = [*settings.FIELD_KEYS, settings.SECRET_KEY, *map(str, settings.SECRET_KEY_FALLBACKS)]
    return MultiFernet([_derived(secret) for secret in secrets])


def _derived(secret: str) -> Fernet:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"concord.fields").derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(key))
