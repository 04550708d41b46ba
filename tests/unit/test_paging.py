"""A list paged over a moving set: what may be believed of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.venue.interface import Found, Unread
from app.venue.polymarket.answers.reading import FIRST_CURSOR, Page
from app.venue.polymarket.paging import read_all, read_all_rows


class Listing:
    """A venue's list by offset, three to a page. ``between`` runs after each page that was served."""

    def __init__(self, items: Sequence[str], between: Callable[[int], None] | None = None) -> None:
        self.items = list(items)
        self.served = 0
        self._between = between

    async def fetch(self, cursor: str) -> Page[str] | Unread:
        at = 0 if cursor == FIRST_CURSOR else int(cursor)
        page = tuple(self.items[at : at + 3])
        more = at + 3 < len(self.items)
        self.served += 1
        if self._between is not None:
            self._between(self.served)
        return Page(page, str(at + 3) if more else None)


def same(item: str) -> str:
    return item


async def test_one_page_is_one_answer_and_is_read_once() -> None:
    listing = Listing(["a", "b"])
    assert await read_all(listing.fetch, same) == Found(["a", "b"])
    assert listing.served == 1


async def test_an_empty_list_is_found_empty() -> None:
    assert await read_all(Listing([]).fetch, same) == Found([])


async def test_several_pages_count_when_two_readings_agree() -> None:
    listing = Listing("abcdefg")
    assert await read_all(listing.fetch, same) == Found(list("abcdefg"))
    assert listing.served == 6


async def test_an_item_that_a_shift_hid_is_found_by_the_second_reading() -> None:
    def shift(served: int) -> None:
        if served == 1:
            listing.items.remove("a")  # d moves to the first page, which was served already

    listing = Listing("abcdefg", shift)
    answer = await read_all(listing.fetch, same)
    assert isinstance(answer, Found)
    assert "d" in answer.value


async def test_a_list_that_never_rests_is_unread() -> None:
    def move(served: int) -> None:
        listing.items.append(f"n{served}")

    listing = Listing("abcdefg", move)
    answer = await read_all(listing.fetch, same)
    assert isinstance(answer, Unread)


async def test_a_page_that_cannot_be_read_makes_the_whole_list_unread() -> None:
    listing = Listing("abcdefg")

    async def fetch(cursor: str) -> Page[str] | Unread:
        return Unread("timeout") if cursor == "3" else await listing.fetch(cursor)

    assert await read_all(fetch, same) == Unread("page 2: timeout")


async def test_a_cursor_that_leads_in_a_circle_is_unread() -> None:
    async def fetch(cursor: str) -> Page[str] | Unread:
        return Page(("a",), FIRST_CURSOR)

    assert isinstance(await read_all(fetch, same), Unread)


# --- rows without an identity ---------------------------------------------------------------------


async def test_rows_that_are_equal_are_several() -> None:
    assert await read_all_rows(Listing("aab").fetch) == Found(list("aab"))
    assert await read_all_rows(Listing("aabacab").fetch) == Found(list("aabacab"))


async def test_a_list_in_which_only_the_number_of_equal_rows_moves_is_not_believed() -> None:
    def grow(served: int) -> None:
        listing.items.append("a")

    listing = Listing("aaaa", grow)
    assert isinstance(await read_all_rows(listing.fetch), Unread)
