"""A file is read whole, in whatever shape it comes, or refused by name with nothing taken."""

from __future__ import annotations

import errno
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadInput, Code
from app.markets.files import ImportReport, read_market_bytes, read_markets, sample_path

EVENTS: list[dict[str, Any]] = json.loads(sample_path().read_text(encoding="utf-8"))
MARKETS: list[dict[str, Any]] = [market for event in EVENTS for market in event["markets"]]
ONE = MARKETS[0]


def read(value: object) -> ImportReport:
    return read_market_bytes(json.dumps(value).encode(), name="made here")


def refusal(data: bytes, **limits: int) -> str:
    with pytest.raises(BadInput) as caught:
        read_market_bytes(data, name="downloads/markets.json", **limits)
    assert caught.value.code is Code.BAD_FILE
    assert "downloads/markets.json" in caught.value.wrong
    assert caught.value.not_done
    assert caught.value.next_step
    return caught.value.wrong


def test_the_sample_has_twenty_tradable_markets_of_many_kinds() -> None:
    report = read_markets(sample_path())
    assert (report.objects_seen, report.duplicates, report.unreadable) == (20, 0, ())
    assert all(market.tradable for market in report.markets)
    assert {m.tick_micros for m in report.markets} == {100_000, 10_000, 5_000, 1_000}
    assert {m.min_size_micros for m in report.markets} == {5_000_000}
    assert {m.fee_rate_micros for m in report.markets} == {70_000, 50_000, 40_000, 0}
    assert sum(m.neg_risk is True for m in report.markets) == 4
    quarters = [
        m
        for m in report.markets
        if m.window_start_ms and (m.window_end_ms or 0) - m.window_start_ms == 900_000
    ]
    assert len(quarters) == 8
    assert len({o.token_id for m in report.markets for o in m.outcomes}) == 40


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (ONE, 1),
        (MARKETS, 20),
        (EVENTS[0], 1),
        (EVENTS, 20),
        ({"data": MARKETS, "next_cursor": "x"}, 20),
        ({"markets": MARKETS}, 20),
        ({"events": EVENTS, "pagination": {"hasMore": False}}, 20),
        ({"value": MARKETS, "Count": 20}, 20),
        ({"value": ONE}, 1),
        ({"slug": "a", "condition_id": "0x1", "token_ids": [], "raw": ONE}, 1),
        ([{"raw": EVENTS}, {"raw": []}], 20),
        ({"markets": [{"raw": ONE}]}, 1),
        ({"markets": None, "events": EVENTS}, 20),
        ([], 0),
        ({}, 0),
        ([{"id": "1", "label": "Sport", "slug": "sport"}], 0),
        ({"id": "1", "slug": "an-event", "title": "no markets"}, 0),
        ({"id": "1", "slug": "an-event", "markets": []}, 0),
        ([{"conditionId": "0x1", "asset": "5", "size": 3, "price": 0.5}], 0),
    ],
)
def test_markets_are_found_in_every_shape(value: object, count: int) -> None:
    report = read(value)
    assert (report.objects_seen, len(report.markets), report.unreadable) == (count, count, ())


def test_json_lines_gzip_and_byte_order_marks_are_seen_by_content(tmp_path: Path) -> None:
    lines = "\r\n".join(json.dumps(market) for market in MARKETS)
    pretty = "\n".join(json.dumps(market, indent=2) for market in MARKETS)
    expected = read(MARKETS).markets
    for data in (
        lines.encode(),
        b"\n\n" + lines.encode() + b"\n",
        pretty.encode(),
        b"\xef\xbb\xbf" + lines.encode(),
        gzip.compress(lines.encode(), mtime=0),
        gzip.compress(lines[:500].encode(), mtime=0) + gzip.compress(lines[500:].encode(), mtime=0),
    ):
        path = tmp_path / "named.csv"
        path.write_bytes(data)
        assert read_markets(path).markets == expected


def test_an_event_gives_its_data_to_its_markets() -> None:
    record = read(EVENTS[8]).markets[0]
    assert record.event_id == EVENTS[8]["id"]
    assert record.group_key == "tournament:midwinter-masters"
    assert record.tags == ("esports", "counter-strike")


def test_the_last_of_several_objects_for_one_market_wins_and_is_counted() -> None:
    report = read([ONE, MARKETS[1], {**ONE, "closed": True}])
    assert (report.objects_seen, report.duplicates, len(report.markets)) == (3, 1, 2)
    first = next(m for m in report.markets if m.condition_id == ONE["conditionId"])
    assert first.untradable_reasons == ("CLOSED",)


def test_two_markets_that_claim_one_token_both_lose_it() -> None:
    report = read([ONE, {**MARKETS[1], "clobTokenIds": ONE["clobTokenIds"]}, MARKETS[2]])
    assert [m.untradable_reasons for m in report.markets] == [
        ("OUTCOME_CONFLICT",),
        ("OUTCOME_CONFLICT",),
        (),
    ]
    assert [len(m.outcomes) for m in report.markets] == [0, 0, 2]


def test_unreadable_objects_are_counted_with_their_place_and_reason() -> None:
    nameless = {**ONE, "conditionId": None}
    clob = {"condition_id": "0x1", "tokens": []}
    report = read([ONE, nameless, {"markets": [5, ONE], "slug": "e"}, {"markets": "?"}, clob])
    assert [(u.where, str(u.reason)) for u in report.unreadable] == [
        ("$[1]", "NO_CONDITION_ID"),
        ("$[2].markets[0]", "NOT_AN_OBJECT"),
        ("$[3].markets", "NOT_A_LIST"),
        ("$[4]", "CLOB_OBJECT"),
    ]
    assert report.objects_seen == 6
    text = "\n".join(json.dumps(item) for item in (ONE, nameless))
    (unreadable,) = read_market_bytes(text.encode(), name="x").unreadable
    assert unreadable.where == "line 2: $"


def test_numbers_are_exact_and_a_nan_of_a_recorder_harms_only_the_field_it_is_in() -> None:
    text = json.dumps(ONE).replace('"orderMinSize": 5', '"orderMinSize": 5.000001, "volume": NaN')
    (record,) = read_market_bytes(text.encode(), name="x").markets
    assert record.min_size_micros == 5_000_001
    assert record.tradable
    text = json.dumps(ONE).replace('"orderMinSize": 5', '"orderMinSize": NaN')
    (record,) = read_market_bytes(text.encode(), name="x").markets
    assert record.untradable_reasons == ("BAD_FIELD:orderMinSize",)
    text = json.dumps(ONE).replace('"orderMinSize": 5', '"orderMinSize": 1' + "0" * 5_000)
    (record,) = read_market_bytes(text.encode(), name="x").markets
    assert record.untradable_reasons == ("BAD_FIELD:orderMinSize",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b" \n\t ", "it is empty"),
        (gzip.compress(b"", mtime=0), "it is empty"),
        (b"event_id,slug,closed\n1,a,false\n", "CSV or a similar table"),
        (b"128410,1045372,sol\n", "CSV or a similar table"),
        (b"<!DOCTYPE html><html></html>", "HTML or XML"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"PAR1rest", "a Parquet file"),
        (b"\xff\xfe[\0]\0", "UTF-16"),
        (b"\x89PNG\r\n\x1a\n\0\0", "binary data (line 1, byte 0)"),
        (b'[\n{"question": "caf\xe9"}]', "not UTF-8 (line 2, byte 19)"),
        (gzip.compress(gzip.compress(b"[]", mtime=0), mtime=0), "gzip inside gzip"),
        (b"just words", "not JSON made of objects or arrays"),
        (b"123\n456\n", "not JSON made of objects or arrays"),
        (b"null", "not JSON made of objects or arrays"),
        (b'{"a": 1}\n{"b": ]}\n', "line 2, column 7, offset 15"),
        (b'{"a": 1}\n5\n', "a bare value, not an object (line 2, offset 9)"),
        (b"[1, 2", "truncated"),
        (b'[{"question": "half a', "truncated"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"a":' * 200_000, "nested too deep"),
        (b'{"data":' * 400 + b"[]" + b"}" * 400, "nested too deep"),
        (b"[" * 400 + b"]" * 400, "nested too deep"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(data: bytes, words: str) -> None:
    assert words in refusal(data)


def test_a_file_cut_off_anywhere_is_refused_whole() -> None:
    whole = json.dumps(EVENTS[:2]).encode()
    packed = gzip.compress(whole)
    for cut in range(1, len(whole), 97):
        assert "truncated" in refusal(whole[:cut])
    for cut in range(2, len(packed), 53):
        assert "truncated" in refusal(packed[:cut])


def test_gzip_with_a_wrong_checksum_or_a_strange_tail_is_refused() -> None:
    packed = bytearray(gzip.compress(json.dumps(EVENTS).encode()))
    packed[-6] ^= 0xFF
    assert "damaged" in refusal(bytes(packed))
    assert "damaged" in refusal(gzip.compress(b"[]") + b"tail")


def test_a_gzip_bomb_is_not_unpacked_beyond_the_limit() -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as packed:
        for _ in range(64):
            packed.write(b" " * 1_000_000)
    assert "unpacks to more than 1000000 bytes" in refusal(buffer.getvalue(), max_bytes=1_000_000)


def test_depth_inside_a_field_nobody_reads_is_allowed_up_to_what_the_stack_bears() -> None:
    def deep(levels: int) -> bytes:
        return (json.dumps(ONE)[:-1] + ', "x": ' + "[" * levels + "]" * levels + "}").encode()

    assert read_market_bytes(deep(100), name="deep").markets[0].tradable
    assert "nested too deep" in refusal(deep(200_000))


def test_a_path_that_cannot_be_read_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = tmp_path / "big.json"
    big.write_bytes(b" " * 1_001)
    for path, words in (
        (tmp_path / "absent.json", "there is no such file"),
        (tmp_path, "it is a directory"),
        (tmp_path / "nul\0", "it cannot be opened"),
        (tmp_path / ("x" * 300), "it cannot be opened"),
        (big, "it is larger than 1000 bytes"),
        (Path("/dev/zero"), "it is larger than 1000 bytes"),  # has no end: read up to the limit
    ):
        with pytest.raises(BadInput, match=words) as caught:
            read_markets(path, max_bytes=1_000)
        assert caught.value.code is Code.BAD_FILE

    # root may read everything, so the refusal of the operating system is put in its place
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(BadInput, match="no permission"):
        read_markets(big)
