"""Bytes of files: bounded lines and parts, encodings by their marks, refusals with a reason."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from seedbed.data.files import Piece, chunks, lines, list_files, paragraphs, parts
from seedbed.data.rows import Unreadable


def test_lines_number_from_one_and_lose_their_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\n\ntwo\nthree")
    assert [(piece.number, piece.data) for piece in lines(path)] == [(1, b"one"), (2, b""), (3, b"two"), (4, b"three")]


def test_lines_across_chunks_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedbed.data.files.chunks.__defaults__", (7,))
    path = tmp_path / "a.txt"
    expected = [f"line {at} " * (at % 5) for at in range(200)]
    path.write_text("\n".join([*expected, "end"]))
    assert [piece.data.decode() for piece in lines(path)] == [*expected, "end"]


def test_a_long_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"short\n" + b"x" * 5000 + b"\nlast")
    found = list(lines(path, limit=100))
    assert [piece.too_long for piece in found] == [False, True, False]
    assert found[1].size == 5000 and found[2] == Piece(3, b"last", 4)


def test_memory_stays_bounded_with_a_100_mb_line(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    with path.open("wb") as stream:
        stream.write(b"before\n")
        stream.truncate(7)
        for _ in range(100):
            stream.write(b"ab cd" * 200_000)
        stream.write(b"\nafter")
    tracemalloc.start()
    sizes = [(piece.number, piece.size, piece.too_long) for piece in lines(path)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sizes == [(1, 6, False), (2, 100_000_000, True), (3, 5, False)]
    assert peak < 64 << 20


def test_parts_lose_no_byte_and_cut_at_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = "".join(f"line {at} äöü\n" for at in range(1000)) + "中" * 300
    path.write_text(text)
    found = list(parts(path, size=100))
    assert b"".join(piece.data for piece in found).decode() == text
    assert all(len(piece.data) <= 100 for piece in found)
    assert all(piece.data.decode() for piece in found)  # no character is cut in two
    assert found[0].data.endswith(b"\n")
    assert [piece.number for piece in found] == list(range(1, len(found) + 1))


def test_paragraphs_are_runs_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n\na\nb\n \nc\n\n\n" + "d" * 50 + "\n" + "e" * 60 + "\n\nf")
    found = list(paragraphs(path, limit=100))
    assert [(piece.number, piece.too_long) for piece in found] == [(3, False), (6, False), (9, True), (12, False)]
    assert found[0].data == b"a\nb" and found[2].size == 111


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_obeyed(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Grüße\n中文\n".encode(encoding))
    assert [piece.data.decode() for piece in lines(path)] == ["Grüße", "中文"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("plain words".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        (bytes(1000), "NUL bytes"),
        (b"\xff\xfea\x00\x00\xd8a", "mark of UTF-16"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(Unreadable, match=reason):
        list(lines(path))


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"words " * 10_000)[:-20])
    with pytest.raises(Unreadable, match="damaged gz file"):
        list(lines(path))


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedbed.data.files.FREE_INFLATED_BYTES", 1 << 20)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(bytes(20 << 20)))
    with pytest.raises(Unreadable, match="decompresses to more than"):
        sum(map(len, chunks(path)))


def test_listing_is_sorted_and_leaves_litter_out(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/1.txt", ".hidden/x.txt", "__MACOSX/y.txt", "a/Thumbs.db", "a/.DS_Store", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    files, broken = list_files(tmp_path)
    assert [file.name for file in files] == ["a/1.txt", "b/2.txt", "c.txt"]
    assert [(entry.key, entry.reason) for entry in broken] == [("gone.txt", "not a file, or a link to nothing")]
