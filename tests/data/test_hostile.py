"""What else may come from outside: each ends in rows, a counted quarantine, or an error that can be mended."""

from __future__ import annotations

import base64
import io
import json
import struct
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.data.clean import Cleaned, clean
from seedbed.data.source import open_source

TEXT = "a sentence that is long enough to pass for a text"


def cleaned(path: Path, **values: Any) -> Cleaned:
    """Open and clean; nothing may be lost on the way."""
    settings = Settings.model_validate(values)
    source = open_source(path, settings)
    found = clean(source, settings)
    assert found.counts["total"] == len(source) + len(source.quarantined)
    assert found.counts["total"] == sum(count for name, count in found.counts.items() if name != "total")
    return found


def fates(found: Cleaned) -> dict[str, tuple[str, str]]:
    return {line["key"]: (line["fate"], line["reason"]) for line in found.ledger.to_pylist()}


def texts(found: Cleaned) -> list[str]:
    return [str(text) for text in found.raw]


def write(folder: Path, **files: str | bytes) -> Path:
    """Files called "a.txt" for a_txt."""
    for name, content in files.items():
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


# bytes and text


def test_empty_files_and_bare_marks(tmp_path: Path) -> None:
    write(tmp_path, a_txt="", b_txt=b"\xef\xbb\xbf", c_txt=b"\xff\xfe", d_txt=" \n\t\n", e_txt="words")
    found = cleaned(tmp_path)
    assert texts(found) == ["words"] and found.counts["excluded"] == 4
    assert {reason for fate, reason in fates(found).values() if fate == "excluded"} == {"empty text"}


def test_encodings_mixed_within_one_file(tmp_path: Path) -> None:
    lines = [b"first words", "café au lait".encode("latin-1"), "Grüße".encode(), "中文字".encode("gb18030")]
    write(tmp_path, a_txt=b"\n".join(lines))
    found = cleaned(tmp_path, data={"unit": "line"})
    assert texts(found) == ["first words", "Grüße"] and found.counts["quarantined"] == 2


def test_halves_of_surrogate_pairs(tmp_path: Path) -> None:
    rows = ['{"text": "good words"}', '{"text": "half \\ud83d a pair"}', '{"text": "a pair \\ud83c\\udf31"}']
    found = cleaned(write(tmp_path, a_jsonl="\n".join(rows)))
    assert texts(found) == ["good words", "a pair 🌱"]
    assert "half of a surrogate pair" in fates(found)["a.jsonl:2"][1]


def test_a_million_combining_marks_take_no_time(tmp_path: Path) -> None:
    write(tmp_path, a_txt="a" + "\u0301" * 1_000_000, b_txt="good words")
    began = time.perf_counter()
    found = cleaned(tmp_path)
    assert time.perf_counter() - began < 2 and fates(found)["a.txt"][0] == "quarantined"


def test_what_looks_odd_and_is_text(tmp_path: Path) -> None:
    blob = base64.b64encode(bytes(range(256)) * 40).decode()
    soup = "<div><p onclick='x()'>some <b>words</div></p><script>if (a<b) alert('&amp;')</script>"
    odd = {
        "a_txt": "right \u202eto left\u202c", "b_txt": "join\u200ded zero\u200bwidth", "c_txt": blob, "d_txt": soup,
        "e_txt": "null", "f_txt": "nan", "g_txt": "<|endoftext|></s>[MASK]", "h_txt": "=HYPERLINK(\"x\")",
    }  # fmt: skip
    found = cleaned(write(tmp_path, **odd))
    assert found.counts["used"] == 8 and set(texts(found)) == set(odd.values())


def test_letters_that_look_alike_are_different_and_line_ends_are_not(tmp_path: Path) -> None:
    write(tmp_path, a_txt="pay the bank", b_txt="p\u0430y the bank", c_txt="two\r\nlines", d_txt="two\nlines\r")
    found = cleaned(tmp_path)
    assert found.counts == {"used": 3, "duplicate": 1, "quarantined": 0, "excluded": 0, "total": 4}


def test_one_phrase_a_million_times(tmp_path: Path) -> None:
    found = cleaned(write(tmp_path, a_txt="buy it now " * 300_000, b_txt="good words"))
    assert fates(found)["a.txt"] == ("excluded", "one phrase repeated throughout")


# JSON


def test_numbers_that_are_none(tmp_path: Path) -> None:
    rows = [f'{{"text": "{TEXT} {at}", "label": {label}}}' for at, label in
            enumerate(["NaN", "Infinity", "-Infinity", "1e999", "0", "1", "0", "1"])]  # fmt: skip
    found = cleaned(write(tmp_path, a_jsonl="\n".join(rows)))
    assert found.counts["used"] == 8 and found.labels[0] is None and set(found.label_shares) == {"0", "1", "inf"}


def test_a_key_that_occurs_twice_costs_its_row(tmp_path: Path) -> None:
    rows = [f'{{"text": "{TEXT} 1"}}', '{"text": "one thing", "label": "a", "text": "another"}']
    for name, content in (("a_jsonl", "\n".join(rows)), ("a_json", f"[{', '.join(rows)}]")):
        found = cleaned(write(tmp_path, **{name: content}) / name.replace("_", "."))
        assert found.counts["used"] == 1 and found.counts["quarantined"] == 1
        assert 'the key "text" occurs twice' in next(
            why for fate, why in fates(found).values() if fate == "quarantined"
        )


@pytest.mark.parametrize(
    ("ending", "used", "reason"),
    [
        ('{"text": "third words are cut o', 2, "no valid JSON, or cut off"),
        ("[" * 200_000, 2, "JSON nested too deep"),
        ("{broken}]", 2, "no valid JSON"),
        ('{"text": "third words"}] and more', 3, "something follows"),
        ('3, "word", {"text": "third words"}]', 3, "not a JSON object but a int"),
    ],
)
def test_lists_keep_what_stands_before_the_damage(tmp_path: Path, ending: str, used: int, reason: str) -> None:
    write(tmp_path, a_json='[{"text": "first words"},\n {"text": "second words", "n": ' + "9" * 5000 + "}, " + ending)
    found = cleaned(tmp_path / "a.json")
    assert found.counts["used"] == used
    assert any(reason in why for fate, why in fates(found).values() if fate == "quarantined")


@pytest.mark.parametrize("content", ["", "[", "{", "[1, 2", '{"a": 1, "b": [1, 2], "c": [1]}', "[" * 200_000, '"x"'])
def test_json_that_is_no_table(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError):
        cleaned(write(tmp_path, a_json=content) / "a.json")


def test_json_of_columns_of_one_row_and_around_a_list(tmp_path: Path) -> None:
    forms = {
        "columns": {"text": [f"{TEXT} {at}" for at in range(3)], "label": [0, 1, 0]},
        "pandas": {"text": {str(at): f"{TEXT} {at}" for at in range(3)}, "label": {"0": 0, "1": 1, "2": 0}},
        "around": {"version": 1, "data": [{"text": f"{TEXT} {at}", "label": at % 2} for at in range(3)]},
    }
    for name, value in forms.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value, indent=2))
        assert open_source(tmp_path / f"{name}.json", Settings()).counts["labelled"] == 3
    (tmp_path / "row.json").write_text(json.dumps({"text": TEXT}, indent=2))
    assert [row.raw for row in open_source(tmp_path / "row.json", Settings())] == [TEXT]


def test_long_items_across_pieces(tmp_path: Path) -> None:
    rows = [{"text": f"{at} " + "longer words " * 100_000} for at in range(4)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert [row.raw for row in open_source(tmp_path / "a.json", Settings())] == [row["text"] for row in rows]


def test_an_item_or_object_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedbed.data.json_lists.MAX_TEXT_BYTES", 1000)
    monkeypatch.setattr("seedbed.data.json_lists.MAX_OBJECT_BYTES", 1000)
    write(
        tmp_path,
        a_json='[{"text": "first words"}, {"text": "' + "endless words " * 200_000,
        b_json='{"a": "' + "x" * 9000,
    )
    found = cleaned(tmp_path / "a.json")
    assert texts(found) == ["first words"] and found.counts["quarantined"] == 1
    with pytest.raises(DataError, match="write it as JSON Lines"):
        cleaned(tmp_path / "b.json")


# CSV


def test_a_cut_last_line_and_cells_of_several_lines(tmp_path: Path) -> None:
    found = cleaned(
        write(tmp_path, a_csv=f'text,label\n"{TEXT}\nin two lines",a\nnot quoted\nso torn,b\n{TEXT} 2,a\ncut o')
    )
    assert found.counts["total"] == 5 and "in two lines" in texts(found)[0]
    assert [key for key, (fate, _) in fates(found).items() if fate == "quarantined"] == ["a.csv:4", "a.csv:7"]


def test_a_column_that_changes_its_type(tmp_path: Path) -> None:
    rows = [f"{TEXT} {at},{at % 2 if at < 1500 else 'other'}" for at in range(1600)]
    found = cleaned(write(tmp_path, a_csv="text,label\n" + "\n".join(rows)))
    assert found.label_shares == {"0": 750, "1": 750, "other": 100}


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_hundred_thousand_columns(tmp_path: Path, kind: str) -> None:
    names = [f"c{at}" for at in range(100_000)]
    row = {name: at for at, name in enumerate(names)} | {"text": TEXT}
    content = ",".join(row) + "\n" + ",".join(map(str, row.values())) if kind == "csv" else json.dumps(row)
    began = time.perf_counter()
    found = cleaned(write(tmp_path, **{f"a_{kind}": content}))
    assert texts(found) == [TEXT] and time.perf_counter() - began < 10


def test_other_keys_in_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedbed.data.tables.MAX_CELLS", 10_000)
    rows = [json.dumps({"text": TEXT, f"k{at}": 1}) for at in range(600)]
    with pytest.raises(DataError, match="601 different keys in 600 rows"):
        cleaned(write(tmp_path, a_jsonl="\n".join(rows)))


# Parquet


def test_a_parquet_dictionary_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedbed.data.files.FREE_INFLATED_BYTES", 64 << 20)
    table = pa.table({"text": pa.array(["word " * 10_000] * 5000).dictionary_encode(), "label": [0, 1] * 2500})
    pq.write_table(table, tmp_path / "bomb.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "bomb.parquet").stat().st_size < 1 << 20
    with pytest.raises(DataError, match="decompresses to more than"):
        cleaned(tmp_path)


def test_a_parquet_bomb_of_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedbed.data.files.FREE_INFLATED_BYTES", 1 << 20)
    table = pa.table({"text": ["a" * (8 << 20)] * 2})
    pq.write_table(table, tmp_path / "bomb.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match="decompresses to more than"):
        cleaned(tmp_path)


def test_parquet_without_a_footer_rows_or_flat_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [TEXT, TEXT + "!"]}), tmp_path / "whole.parquet")
    data = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[:-20])
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    found = cleaned(tmp_path)
    assert found.counts["used"] == 2 and fates(found)["cut.parquet"][0] == "quarantined"
    assert any(sentence == "none.parquet: no rows" for sentence in found.understood)
    pq.write_table(pa.table({"a": [{"b": [1]}]}), tmp_path / "nested.parquet")
    with pytest.raises(DataError, match="No column looks like text"):
        cleaned(tmp_path / "nested.parquet")


@pytest.mark.parametrize("depth", [30, 200])
def test_columns_nested_deep(tmp_path: Path, depth: int) -> None:
    kind: pa.DataType = pa.int64()
    value: Any = 1
    for _ in range(depth):
        kind, value = pa.list_(kind), [value]
    table = pa.table({"text": [TEXT], "deep": pa.array([value], kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    if depth == 30:
        assert texts(cleaned(tmp_path)) == [TEXT]
    else:
        with pytest.raises(DataError, match="too deeply nested"):
            cleaned(tmp_path)


def test_tables_whose_columns_drift(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [TEXT + "1"], "label": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [TEXT + "2"], "label": ["1"]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": [5], "label": [1.0]}), tmp_path / "c.parquet")
    pq.write_table(pa.table({"body": [TEXT + "4"]}), tmp_path / "d.parquet")
    found = cleaned(tmp_path)
    assert texts(found) == [TEXT + "1", TEXT + "2", "5"] and found.label_shares == {"1": 3}
    assert any('d.parquet: not used, it has no column "text"' in sentence for sentence in found.understood)


def test_every_flipped_byte_of_a_parquet_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [f"{TEXT} {at}" for at in range(20)]}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for at in range(0, len(whole), 11):
        (tmp_path / "a.parquet").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            assert cleaned(tmp_path).counts["total"] <= 20
        except DataError as error:
            assert error.fix


# images


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(kind: str, seed: int = 0, **options: Any) -> bytes:
    held = io.BytesIO()
    Image.fromarray(noise(16, 16, 3, seed=seed)).save(held, kind, **options)
    return held.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_images_that_are_not_what_their_name_says(tmp_path: Path) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>x()</script></svg>'
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("evil.txt", "x")
    write(tmp_path, a_jpg=encoded("PNG"), b_png=encoded("JPEG", 1), c_png=svg, f_svg=svg)
    write(tmp_path, d_png=encoded("PNG", 2) + held.getvalue(), e_bmp=b"BM" + bytes(100))
    write(tmp_path, g_webp=b"RIFF" + bytes(8) + b"WEBPVP8 ", h_gif=b"GIF89a" + bytes(9))
    found = cleaned(tmp_path)
    assert {key for key, (fate, _) in fates(found).items() if fate == "used"} == {"a.jpg", "b.png", "d.png"}
    assert {key for key, (fate, _) in fates(found).items() if fate == "quarantined"} == {
        "c.png", "e.bmp", "g.webp", "h.gif",
    }  # fmt: skip
    assert any('1 file of other kinds not used: "f.svg"' in sentence for sentence in found.understood)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "AVIF"])
def test_images_cut_anywhere(tmp_path: Path, kind: str) -> None:
    whole = encoded(kind)
    (tmp_path / "whole.png").write_bytes(encoded("PNG", 9))
    for part in range(1, 10):
        (tmp_path / f"{part}.{kind.lower()}").write_bytes(whole[: len(whole) * part // 10])
    found = cleaned(tmp_path)
    assert found.counts["total"] == 10 and found.counts["quarantined"] >= 5


def test_images_of_one_pixel_of_none_and_of_odd_shapes(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)
    none = (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b""))
        + png_chunk(b"IEND", b"")
    )
    Image.fromarray(noise(1, 1, 3)).save(tmp_path / "one.png")
    Image.fromarray(noise(1, 5000, 3)).save(tmp_path / "line.png")
    found = cleaned(write(tmp_path, none_png=none))
    assert found.counts["used"] == 2 and fates(found)["none.png"][0] in ("quarantined", "excluded")


def test_a_profile_that_swells_is_refused(tmp_path: Path) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    profile = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(100 << 20)))
    pixel = png_chunk(b"IDAT", zlib.compress(bytes(4))) + png_chunk(b"IEND", b"")
    write(tmp_path, a_png=b"\x89PNG\r\n\x1a\n" + header + profile + pixel, b_png=encoded("PNG"))
    began = time.perf_counter()
    found = cleaned(tmp_path)
    assert fates(found)["a.png"][0] == "quarantined" and time.perf_counter() - began < 5


def test_images_in_memory_are_bounded_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        a_tiff=b"II*\x00\x08\x00\x00\x00" + b"\xff" * 64,
        b_ppm=b"P6 100000 100000 255\n",
        c_png=encoded("PNG"),
    )
    found = cleaned(tmp_path)
    assert found.counts["used"] == 1 and "larger than" in fates(found)["b.ppm"][1]
