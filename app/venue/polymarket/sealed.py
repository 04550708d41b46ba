"""What keeps a secret must not be able to tell it by accident."""

from __future__ import annotations

from typing import NoReturn

from app.errors import Code, LedgerError


class Sealed:
    """Base of objects that hold a secret: no pickle, no copy, no attribute dictionary.

    A queue, a cache or a crash reporter that pickles its arguments would otherwise write the key to
    disk. Subclasses keep the secret in a private slot and say in ``__repr__`` only what may be
    public.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise LedgerError(
            Code.SIGNING_FAILED,
            f"a {type(self).__name__} holds a secret and is neither copied nor pickled",
            next_step="pass the object itself, or make one where it is needed",
        )

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(None)
