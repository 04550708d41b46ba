"""Money and quantity as integers of 1e-6.

Prices, share counts and collateral all carry six decimals at the venue (pUSD and outcome tokens are
six-decimal assets), so one unit serves everywhere: the *micro*. Inside the system only integers
move; text is converted at the border, exactly or not at all. A float would turn 0.29 into
0.28999999999999998 and a cap into a suggestion.
"""

from __future__ import annotations

import re
from typing import Final, NewType

from app.errors import BadInput, Code

MICROS: Final = 1_000_000
"""Base units in one share or one unit of collateral."""

MAX_MICROS: Final = 10**15
"""One thousand million shares or units of collateral.

Larger input is a typing error, and price * size (at most 1e6 * 1e15) stays inside numeric(38).
"""

PriceMicros = NewType("PriceMicros", int)
"""Collateral per share, 0 < price < 1_000_000."""

SharesMicros = NewType("SharesMicros", int)
"""Outcome tokens in base units."""

CollateralMicros = NewType("CollateralMicros", int)
"""pUSD in base units."""

_DECIMAL: Final = re.compile(r"(?P<sign>[+-]?)(?P<whole>[0-9]{1,200})(?:\.(?P<frac>[0-9]{1,20}))?")


def parse_micros(text: str, *, what: str) -> int:
    """Turn decimal text such as ``"0.45"`` into micros, exactly.

    Exponents, ``NaN``, infinities, thousands separators and digits beyond the sixth decimal place
    (unless they are zero) raise `BadInput` with code ``BAD_NUMBER``. ``what`` names the field in the error.
    """
    match = _DECIMAL.fullmatch(text.strip()) if len(text) <= 200 else None
    if match is None:
        raise BadInput(
            Code.BAD_NUMBER,
            f"{what} is not a decimal number: {text[:40]!r}",
            next_step="write a plain decimal such as 0.45 or 12.5",
        )
    frac = match["frac"] or ""
    if frac[6:].strip("0"):
        raise BadInput(
            Code.BAD_NUMBER,
            f"{what} has more than six decimal places: {text[:40]!r}",
            next_step="give at most six decimal places; nothing is rounded",
        )
    micros = int(match["whole"]) * MICROS + int(frac[:6].ljust(6, "0"))
    if micros > MAX_MICROS:
        raise BadInput(
            Code.BAD_NUMBER,
            f"{what} is larger than anything that trades: {text[:40]!r}",
            next_step=f"give {MAX_MICROS // MICROS} at most",
        )
    return -micros if match["sign"] == "-" else micros


def format_micros(micros: int) -> str:
    """Micros as plain decimal text without trailing zeros: ``450000`` -> ``"0.45"``."""
    sign = "-" if micros < 0 else ""
    whole, frac = divmod(abs(micros), MICROS)
    digits = f"{frac:06d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def cost_micros(price: int, shares: int) -> int:
    """Collateral for ``shares`` at ``price``, rounded up to a whole micro.

    Up, because this number is what a BUY must hold: a hold that is one micro short is an overdraft.
    """
    return -(-price * shares // MICROS)
