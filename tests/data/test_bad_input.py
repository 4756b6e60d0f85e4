"""Bad input, as it comes from outside: a clear error or a counted quarantine, never a traceback, nothing lost."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedbed.core.errors import DataError, MachineError
from seedbed.core.settings import Settings
from seedbed.data.clean import Cleaned, clean, require_labels
from seedbed.data.source import open_source

TEXT = "a sentence that is long enough to pass for a text"


def cleaned(path: Path, **values: Any) -> Cleaned:
    settings = Settings.model_validate(values)
    return clean(open_source(path, settings), settings)


def png(seed: int = 0) -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(held, "PNG")
    return held.getvalue()


def quarantine(found: Cleaned) -> list[tuple[str, str]]:
    return [(line["key"], line["reason"]) for line in found.ledger.to_pylist() if line["fate"] == "quarantined"]


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty") as caught:
        cleaned(tmp_path)
    assert "Parquet, Arrow, CSV" in caught.value.cause and caught.value.fix


def test_no_such_path_offers_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("x")
    with pytest.raises(DataError, match=r'Did you mean "reviews\.csv"'):
        cleaned(tmp_path / "review.csv")


def test_text_in_place_of_a_path() -> None:
    with pytest.raises(DataError, match="cannot be a path"):
        open_source("text that was meant as data " * 20, Settings())


def test_archives_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "a.7z").write_bytes(b"x")
    with pytest.raises(DataError, match=r"\.7z archives cannot be opened; \.zip and \.tar can"):
        cleaned(tmp_path / "a.7z")


def test_a_folder_above_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(MachineError, match="may not be read"):
        cleaned(tmp_path / "a.txt")


def test_no_labels_at_all_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,stars\n" + "".join(f"review number {at},{at % 5}\n" for at in range(50)))
    found = cleaned(tmp_path)
    assert found.counts["used"] == 50 and not found.label_shares
    with pytest.raises(DataError, match="labels that differ are needed") as caught:
        require_labels(found)
    assert 'candidates for --label: "stars" (5 values)' in caught.value.cause


def test_kinds_that_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"x")
    with pytest.raises(DataError, match="Pickles can run programs"):
        cleaned(tmp_path)


def test_only_broken_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png()[:60])
    (tmp_path / "b.jpg").write_bytes(b"words")
    with pytest.raises(DataError, match=r"Nothing in .* can be used") as caught:
        cleaned(tmp_path)
    assert "damaged or cut off" in caught.value.found and "no image of a known kind" in caught.value.found


def test_a_truncated_png_costs_itself_only(tmp_path: Path) -> None:
    for at in range(3):
        (tmp_path / f"{at}.png").write_bytes(png(at))
    (tmp_path / "cut.png").write_bytes(png()[:-100])
    found = cleaned(tmp_path)
    assert found.counts == {"used": 3, "duplicate": 0, "quarantined": 1, "excluded": 0, "total": 4}
    assert quarantine(found)[0][0] == "cut.png" and "damaged or cut off" in quarantine(found)[0][1]


def test_only_broken_tables(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="damaged Parquet file"):
        cleaned(tmp_path)
    (tmp_path / "b.csv").write_text(f"text,label\n{TEXT},1\n")
    found = cleaned(tmp_path)
    assert found.counts["used"] == 1 and quarantine(found)[0][0] == "a.parquet"


def test_a_parquet_file_damaged_inside(tmp_path: Path) -> None:
    texts = [f"{TEXT} {at} {np.random.default_rng(at).integers(1 << 60)}" for at in range(5000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", compression="zstd")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff" * 40
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: |a\.parquet\)"):
        cleaned(tmp_path)


def test_latin_1_rows_are_quarantined_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\nplain words,0\nun caf\xe9 noir,1\nmore words,0\n")
    found = cleaned(tmp_path)
    assert found.raw == ["plain words", "more words"]
    assert [key for key, _ in quarantine(found)] == ["a.csv:3"] and "looks like Latin-1" in quarantine(found)[0][1]


def test_utf_16_text_is_read_and_without_its_mark_refused(tmp_path: Path) -> None:
    (tmp_path / "marked.txt").write_bytes("Grüße aus der Ferne".encode("utf-16"))
    (tmp_path / "bare.txt").write_bytes("Gruesse aus der Ferne".encode("utf-16-le"))
    found = cleaned(tmp_path)
    assert found.raw == ["Grüße aus der Ferne"]
    assert quarantine(found) == [
        ("bare.txt", "more than a fifth are NUL bytes: not text, or UTF-16 without a byte-order mark")
    ]


def test_a_few_nul_bytes_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\nplain\x00 words here,0\n\x00\x00\x00a,1\n")
    found = cleaned(tmp_path)
    assert found.raw == ["plain words here"] and "control or replacement" in quarantine(found)[0][1]


@pytest.mark.parametrize(
    ("name", "unit"), [("a.txt", "line"), ("a.txt", "paragraph"), ("a.csv", "auto"), ("a.jsonl", "auto")]
)
def test_an_endless_line_is_quarantined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, unit: str) -> None:
    monkeypatch.setattr("seedbed.data.files.lines.__defaults__", (1 << 16,))
    monkeypatch.setattr("seedbed.data.files.paragraphs.__defaults__", (1 << 16,))
    before, after = {
        "a.txt": ("before it\n\n", "\nafter it\n"),
        "a.csv": ("text,label\nbefore it,0\n", "after it,0\n"),
        "a.jsonl": ('{"text": "before it"}\n', '{"text": "after it"}\n'),
    }[name]
    (tmp_path / name).write_text(before + "endless words " * 200_000 + "\n" + after)
    found = cleaned(tmp_path / name, data={"unit": unit})
    assert found.raw == ["before it", "after it"] and found.counts["total"] == 3
    key, reason = quarantine(found)[0]
    assert key == f"{name}:{2 if name == 'a.jsonl' else 3}" and "longer than" in reason and "2,800,000 bytes" in reason


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["line", "file"])
def test_a_100_mb_line_whole(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as stream:
        for at in range(100):
            stream.write((f"{at:04d}" + "abcd" * 249_999)[:1_000_000].encode())
        stream.write(b"\nlast words\n")
    found = cleaned(path, data={"unit": unit})
    if unit == "line":
        assert found.raw == ["last words"] and "(100,000,000 bytes)" in quarantine(found)[0][1]
    else:
        assert isinstance(found.raw, list) and sum(map(len, found.raw)) == 100_000_000 + 12
        assert all(len(text) <= 4 << 20 for text in found.raw)


def test_a_ragged_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\ngood words,0\nbad\nworse,1,2\nfine words,0\n")
    found = cleaned(tmp_path / "a.csv")
    assert found.counts == {"used": 2, "duplicate": 0, "quarantined": 2, "excluded": 0, "total": 4}
    assert any("2 rows quarantined" in sentence for sentence in found.understood)


def refuse_opening(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    opened = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> IO[Any]:
        if self.name == name:
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("open to all")
    (tmp_path / "b.txt").write_text("closed")
    refuse_opening(monkeypatch, "b.txt")
    assert quarantine(cleaned(tmp_path)) == [("b.txt", "cannot be read: Permission denied")]
    with pytest.raises(MachineError, match="may not be read") as caught:
        cleaned(tmp_path / "b.txt")
    assert caught.value.exit_code == 4 and "chmod" in caught.value.fix


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(root: Path, onerror: Any) -> list[Any]:
        onerror(PermissionError(13, "Permission denied", str(root)))
        return []

    monkeypatch.setattr("seedbed.data.files.os.walk", walk)
    with pytest.raises(MachineError, match="cannot be listed"):
        cleaned(tmp_path)


def test_special_tokens_and_right_to_left_text_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("<|endoftext|> [MASK] \u202eabc \u200d مرحبا\n", encoding="utf-8")
    assert cleaned(tmp_path).raw == ["<|endoftext|> [MASK] \u202eabc \u200d مرحبا\n"]
