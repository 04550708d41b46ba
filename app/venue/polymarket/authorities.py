"""Whom requests to the venue trust. Reading the system's authorities takes longer than most requests, so it is done
once per process, and not at all where nothing is encrypted.

Not for web sockets: the HTTP client writes into a context that it would speak HTTP/2 over it.
"""

from __future__ import annotations

import ssl
from functools import cache


def trusted(ca_file: str | None) -> ssl.SSLContext:
    """The system's authorities; with ``ca_file`` that one too, for this caller alone."""
    if not ca_file:
        return _of_the_system()
    context = ssl.create_default_context()
    context.load_verify_locations(ca_file)
    return context


@cache
def _of_the_system() -> ssl.SSLContext:
    return ssl.create_default_context()


def nobody_trusted() -> ssl.SSLContext:
    """For plain HTTP: without it the HTTP client reads a whole bundle of authorities for every pool of connections,
    and whatever was encrypted after all would be refused.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
