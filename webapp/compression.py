"""Compresses pages, and leaves streams as they are.

Django's middleware compresses each chunk of an asynchronous stream as a file of its own, and clients read the first one
only: a CSV would end after its heading.
"""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware


class PageCompression(GZipMiddleware):
    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response if response.streaming else super().process_response(request, response)
