"""The openai SDK, restricted to checked addresses: for the Batch API.

The bulk of the questions goes over aiohttp (`openai_judge`), four times as fast in the same process.
"""

from __future__ import annotations

import httpx2
import openai

from training.config import JudgeSettings
from training.config.address import is_openai, server_url
from training.errors import JudgeUnavailable
from training.judges.addresses import AddressGuard, GuardedTransport


def base_url(settings: JudgeSettings) -> str:
    """The address in its normal form, which is what is checked and connected to. `AddressGuard.check_url` refuses what
    has none."""
    return server_url(settings.base_url)


def check_key(settings: JudgeSettings, key: str) -> None:
    """Raises JudgeUnavailable where no key is set and the server surely needs one."""
    if not key and is_openai(settings.base_url):
        raise JudgeUnavailable("OpenAI's server asks for a key, and none is set.",
                               "Name its variable in 'judge.api_key_env' and set it where the workers start.")


def client(settings: JudgeSettings, key: str, guard: AddressGuard, retries: int = 0) -> openai.AsyncOpenAI:
    """A client of the judge's server. Close it: `async with client(...) as sdk`."""
    http = httpx2.AsyncClient(transport=GuardedTransport(guard), follow_redirects=False, timeout=settings.timeout,
                              trust_env=False)
    sdk_client = openai.AsyncOpenAI(api_key=key or "none", base_url=base_url(settings), max_retries=retries,
                              timeout=settings.timeout, http_client=http)
    if not is_openai(settings.base_url):
        sdk_client.organization = sdk_client.project = None  # the SDK takes them from the environment
    return sdk_client


def refusal(error: Exception) -> JudgeUnavailable | None:
    """The guard's own error, which the SDK wraps as a failed connection; None if `error` is another."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, JudgeUnavailable):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
