"""The reader of images: every mode, bounded decoding, one working shape."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from seedbed.core.settings import Settings
from seedbed.data.decode_image import (
    MAX_PIXELS,
    baseline,
    fit,
    fold,
    measure,
    preview,
    profile,
    read,
    sniff,
    working_shape,
)
from seedbed.data.rows import Row, Unreadable

SETTINGS = Settings()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def bomb(side: int) -> bytes:
    """A small PNG of side x side black pixels, one bit each."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side + 7) // 8 + 1) * side, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_modes_of_png(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(noise(9, 7).astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(noise(9, 7, 3))
    (image if mode == "I;16" else image.convert(mode)).save(path)
    row = Row("a.png", path)
    pixels = read(row, SETTINGS)
    assert pixels.dtype == np.uint8 and pixels.shape == measure(row)
    assert pixels.shape == (1 if mode in ("1", "L", "LA", "I;16") else 3, 9, 7)
    if mode == "I;16":
        assert np.abs(pixels[0].astype(int) - noise(9, 7)).max() <= 1


def test_cmyk_and_what_is_see_through(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 8, 3)).convert("CMYK").save(tmp_path / "a.jpg")
    assert read(Row("a", tmp_path / "a.jpg"), SETTINGS).shape == (3, 8, 8)
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "b.png")
    assert (read(Row("b", tmp_path / "b.png"), SETTINGS) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_turned_photographs_stand_upright(tmp_path: Path, kind: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8] = 255  # the upper half is bright
    more = {"save_all": True, "append_images": [Image.fromarray(pixels)]} if kind == "MPO" else {}
    path = tmp_path / f"a.{'jpg' if kind == 'MPO' else kind.lower()}"
    Image.fromarray(pixels).save(path, kind, exif=exif, **more)
    row = Row("a", path)
    found = read(row, SETTINGS).astype(int)
    assert found.shape == measure(row) == ((3, 32, 16) if turn >= 6 else (3, 16, 32))
    bright = {1: found[:, :8], 3: found[:, 8:], 6: found[:, :, 8:], 8: found[:, :, :8]}[turn]
    assert bright.mean() > 250 and found.mean() < 130


def test_large_photographs_are_decoded_small(tmp_path: Path) -> None:
    small = Image.fromarray(noise(12, 16, 3)).resize((1600, 1200))
    small.save(tmp_path / "a.jpg", quality=95)
    row = Row("a", tmp_path / "a.jpg")
    whole, quick = read(row, SETTINGS), read(row, SETTINGS, (3, 64, 64))
    assert whole.shape == (3, 1200, 1600) and quick.shape == (3, 150, 200)
    difference = fit(whole, (3, 64, 64), SETTINGS).astype(int) - fit(quick, (3, 64, 64), SETTINGS)
    assert np.abs(difference).mean() < 3
    exact = Settings.model_validate({"data": {"image_fit": "shorter"}})
    assert read(row, exact, (3, 64, 64)).shape == (3, 1200, 1600)


def test_what_was_done_to_images_is_said(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.fromarray(noise(8, 8, 3, seed=at)) for at in range(3)]
    frames[0].save(tmp_path / "turned.jpg", exif=exif)
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    frames[0].convert("CMYK").save(tmp_path / "print.jpg")
    frames[0].convert("P").save(tmp_path / "palette.png")
    frames[0].convert("RGBA").save(tmp_path / "see.png")
    Image.fromarray(noise(8, 8).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    rows = [Row(path.name, path) for path in sorted(tmp_path.iterdir())]
    _, told = working_shape(rows, SETTINGS)
    for part in (
        "1 turned upright as their EXIF data say", "2 hold several frames, of which the first is taken",
        "1 have more than 8 bits a channel, brought to 8", "1 are in the colours of print (CMYK), brought to RGB",
        "2 have a palette, brought to RGB", "1 are see-through in parts, which are shown white",
    ):  # fmt: skip
        assert part in told, (part, told)
    assert "looked at" not in told and "looked at" in working_shape(rows * 1000, SETTINGS)[1]
    assert ";" not in working_shape(rows_of((3, 8, 8)), SETTINGS)[1]


def test_first_frames_and_floats(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "b.tiff", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "c.tiff")
    assert [int(read(Row(name, tmp_path / name), SETTINGS).max()) for name in ("a.gif", "b.tiff", "c.tiff")] == [
        10,
        10,
        127,
    ]


def test_a_bomb_is_refused_before_a_pixel_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(13_000))
    assert path.stat().st_size < 1 << 20 and 13_000**2 > MAX_PIXELS
    with pytest.raises(Unreadable, match="13,000 x 13,000 pixels; at most"):
        read(Row("bomb.png", path), SETTINGS)
    path.write_bytes(bomb(30_000)[:100])
    with pytest.raises(Unreadable, match="larger than"):
        read(Row("bomb.png", path), SETTINGS)


def test_damage_has_a_reason(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(held, "PNG")
    whole = held.getvalue()
    damaged = {
        "cut": whole[: len(whole) // 2],
        "head": whole[:20],
        "empty": b"",
        "text": b"no image at all",
        "flipped": whole[:200] + bytes(byte ^ 0xFF for byte in whole[200:220]) + whole[220:],
    }
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(Unreadable, match=r"damaged|no image"):
            read(Row(name, tmp_path / name), SETTINGS)
    assert len(damaged) == 5


def test_no_permission_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("seedbed.data.decode_image.Image.open", refuse)
    with pytest.raises(Unreadable, match="cannot be read: Permission denied"):
        read(Row("a", tmp_path / "a.png"), SETTINGS)


def rows_of(*shapes: tuple[int, ...]) -> list[Row]:
    return [Row(str(at), noise(*shape)) for at, shape in enumerate(shapes)]


def test_working_shapes() -> None:
    assert working_shape(rows_of((1, 8, 8), (1, 8, 8)), SETTINGS)[0] == (1, 8, 8)
    assert working_shape(rows_of((1, 8, 8), (3, 8, 8)), SETTINGS)[0] == (3, 8, 8)
    assert working_shape(rows_of((3, 20, 30), (3, 40, 50), (3, 60, 70)), SETTINGS)[0] == (3, 40, 40)
    assert working_shape(rows_of((3, 200, 300)), SETTINGS)[0] == (3, 64, 64)
    asked = Settings.model_validate({"data": {"image_size": 16}})
    shape, told = working_shape(rows_of((3, 200, 300)), asked)
    assert shape == (3, 16, 16) and "as asked" in told


def test_fit_keeps_the_middle_and_the_channels() -> None:
    wide = np.zeros((1, 4, 12), np.uint8)
    wide[:, :, 4:8] = 200
    assert (fit(wide, (1, 4, 4), SETTINGS) == 200).all()
    assert fit(wide, (3, 4, 12), SETTINGS).shape == (3, 4, 12)
    assert (fit(np.full((3, 4, 4), 77, np.uint8), (1, 4, 4), SETTINGS) == 77).all()


def test_equal_pixels_are_equal_whatever_the_file(tmp_path: Path) -> None:
    pixels = noise(8, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "b.bmp")
    first, second = (fold(read(Row(name, tmp_path / name), SETTINGS)) for name in ("a.png", "b.bmp"))
    assert first == second == fold(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    assert fold(noise(1, 2, 8)) != fold(noise(1, 8, 2))


def test_preview_profile_baseline_sniff() -> None:
    images = noise(5, 3, 8, 8)
    assert preview(images[0]).startswith('<img alt="" width="96" height="96" src="data:image/png;base64,')
    assert profile(images)["shape"] == (3, 8, 8) and profile(images)["num_items"] == 5
    features = baseline(images)
    assert features.shape == (5, 192) and features.dtype == np.float32 and 0 <= features.min() < features.max() <= 1
    assert sniff(Path("x.JPEG")) and not sniff(Path("x.txt")) and sniff([images[0]]) and not sniff(["a"])
