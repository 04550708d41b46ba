"""Chance as arithmetic: the n-th draw of a seed is a pure function, so a stored (seed, n) resumes
anywhere.

The mixing is the finaliser of the published SplitMix64 generator. Not for secrets.
"""

from __future__ import annotations

import hashlib
from typing import Final

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15


def draw(seed: int, n: int, below: int) -> int:
    """The n-th draw of ``seed``, in [0, below).

    The bias of the modulo is under 2^-40 for what is drawn here.
    """
    z = (seed + (n + 1) * _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) % below


def derive_seed(seed: int, *words: str) -> int:
    """A seed of its own for each thing named by ``words``; fits a signed 64-bit column."""
    digest = hashlib.sha256("\x1f".join((str(seed), *words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def make_trade_id(seed: int, token_id: str, seq: int) -> str:
    """Unique per (seed, token, number), the same on every replay; a UUID like the venue's."""
    h = hashlib.sha256(f"{seed}\x1f{token_id}\x1f{seq}".encode()).hexdigest()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}"
