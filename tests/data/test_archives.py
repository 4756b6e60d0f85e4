"""Archives: every kind read like a folder, nothing outside them touched, bombs and damage told, all of it counted."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from seedbed.core.errors import DataError, MachineError
from seedbed.core.settings import Settings
from seedbed.data import archives
from seedbed.data.clean import clean
from seedbed.data.files import chunks
from seedbed.data.rows import Unreadable
from seedbed.data.source import Source, open_source

FILES = {f"pets/{split}/{kind}/{at}.txt": f"{split} words about a {kind}, number {at}".encode()
         for split in ("train", "test") for kind in ("cat", "dog") for at in (1, 2)}  # fmt: skip


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "tar": bytes, "tar.gz": gzip.compress, "tgz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress,
    "tar.zst": zstd,
}  # fmt: skip


def tar_of(files: Mapping[str, bytes], *more: tarfile.TarInfo) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return held.getvalue()


def zip_of(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return held.getvalue()


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def opened(tmp_path: Path, name: str, data: bytes) -> Source:
    (tmp_path / name).write_bytes(data)
    return open_source(tmp_path / name, Settings())


def reasons(source: Source) -> dict[str, str]:
    return {entry.key: entry.reason for entry in source.quarantined}


def check_pets(source: Source, name: str) -> None:
    told = {row.key: (row.label, row.split, row.raw) for row in source}
    assert told == {
        f"{name}/{inner}": (inner.split("/")[2], inner.split("/")[1], data) for inner, data in FILES.items()
    }
    assert not source.quarantined and any('2 classes from folders: "cat", "dog"' in one for one in source.understood)


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_tars_are_read_like_folders(tmp_path: Path, ending: str) -> None:
    source = opened(tmp_path, f"a.{ending}", COMPRESSIONS[ending](tar_of(FILES)))
    check_pets(source, f"a.{ending}")
    assert source.name == "a" and source.paths == [tmp_path / f"a.{ending}"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_are_read_like_folders(tmp_path: Path, compression: int) -> None:
    check_pets(opened(tmp_path, "A.ZIP", zip_of(FILES, compression)), "A.ZIP")


def test_archives_in_a_folder_name_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        inner = {name.split("/", 2)[2]: data for name, data in FILES.items() if f"/{split}/" in name}
        (tmp_path / f"{split}.zip").write_bytes(zip_of(inner))
    source = open_source(tmp_path, Settings())
    assert [(row.split, row.label) for row in source] == [
        (split, kind) for split in ("test", "train") for kind in ("cat", "cat", "dog", "dog")
    ]
    assert source.rows[0].key == "test.zip/cat/1.txt"


def test_tables_and_arrays_in_archives(tmp_path: Path) -> None:
    rows = b"text,label\nsome words that are long enough,a\nmore words that are long enough,b\n"
    source = opened(tmp_path, "a.zip", zip_of({"train.csv": rows, "test.csv.gz": gzip.compress(rows)}))
    assert [row.key for row in source] == [
        f"a.zip/{name}:{at}" for name in ("test.csv.gz", "train.csv") for at in (2, 3)
    ]
    assert [row.split for row in source] == ["test", "test", "train", "train"]


def test_names_in_utf8_without_the_flag_and_with_backslashes(tmp_path: Path) -> None:
    data = zip_of({"pets/caf__/1.txt": b"one", "pets\\katze\\2.txt": b"two"}).replace(b"caf__", "café".encode())
    source = opened(tmp_path, "a.zip", data)
    assert [row.key for row in source] == ["a.zip/pets/café/1.txt", "a.zip/pets/katze/2.txt"]


def test_nothing_leads_out_of_a_tar(tmp_path: Path) -> None:
    bad = {"../evil.txt": b"x", "/etc/evil.txt": b"x", "a/../../evil.txt": b"x", "good.txt": b"good words"}
    more = [link("soft.txt", tarfile.SYMTYPE), link("hard.txt", tarfile.LNKTYPE)]
    more += [link("device.txt", tarfile.CHRTYPE), link("pipe.txt", tarfile.FIFOTYPE)]
    source = opened(tmp_path, "a.tar", tar_of(bad, *more))
    assert [row.key for row in source] == ["a.tar/good.txt"]
    assert reasons(source) == {
        "a.tar/../evil.txt": "its name leads out of the archive",
        "a.tar/etc/evil.txt": "its name is an absolute path",
        "a.tar/a/../../evil.txt": "its name leads out of the archive",
        "a.tar/soft.txt": "a link, not a file",
        "a.tar/hard.txt": "a link, not a file",
        "a.tar/device.txt": "no plain file",
        "a.tar/pipe.txt": "no plain file",
    }
    assert clean(source, Settings()).counts == {"used": 1, "duplicate": 0, "quarantined": 7, "excluded": 0, "total": 8}
    assert not [path for path in archives._home().parent.glob("evil*")]


def test_nothing_leads_out_of_a_zip(tmp_path: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in ("../evil.txt", "/evil.txt", "C:\\evil.txt", "good.txt", "__MACOSX/._good.txt", ".hidden.txt"):
            archive.writestr(name, "good words")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("good.txt", "other words")
        soft = zipfile.ZipInfo("soft.txt")
        soft.external_attr = 0o120777 << 16
        archive.writestr(soft, "/etc/passwd")
        locked = zipfile.ZipInfo("locked.txt")
        archive.writestr(locked, "secret words")
    data = held.getvalue()
    at = data.rindex(b"PK\x01\x02")
    data = data[: at + 8] + b"\x01" + data[at + 9 :]  # the flag that says encrypted
    source = opened(tmp_path, "a.zip", data)
    assert [(row.key, row.raw) for row in source] == [("a.zip/good.txt", b"good words")]
    assert reasons(source) == {
        "a.zip/../evil.txt": "its name leads out of the archive",
        "a.zip/evil.txt": "its name is an absolute path",
        "a.zip/C:/evil.txt": "its name is an absolute path",
        "a.zip/good.txt": "a second entry of this name",
        "a.zip/soft.txt": "a link, not a file",
        "a.zip/locked.txt": "encrypted",
    }


def test_a_wrong_checksum_costs_its_entry(tmp_path: Path) -> None:
    data = zip_of({"a.txt": b"first words", "b.txt": b"second words", "c.txt": b"third words"}, zipfile.ZIP_STORED)
    source = opened(tmp_path, "a.zip", data.replace(b"second", b"sEcond"))
    assert [row.raw for row in source] == [b"first words", b"third words"]
    assert reasons(source) == {"a.zip/b.txt": "damaged in the archive: Bad CRC-32 for file 'b.txt'"}


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz", "tar.zst"])  # a .bz2 of this size is one block
def test_a_cut_tar_keeps_what_was_whole(tmp_path: Path, ending: str) -> None:
    noise = {f"{at}.txt": os.urandom(30_000).hex().encode() for at in range(20)}
    data = COMPRESSIONS[ending](tar_of(noise))
    source = opened(tmp_path, f"a.{ending}", data[: len(data) // 2])
    assert 6 <= len(source) <= 11
    assert source.quarantined and all("damaged" in reason for reason in reasons(source).values())


def test_a_damaged_header_is_no_end(tmp_path: Path) -> None:
    data = bytearray(tar_of({f"{at}.txt": b"words of a text" for at in range(4)}))
    data[1024 * 2 : 1024 * 2 + 20] = b"\xff" * 20
    source = opened(tmp_path, "a.tar", bytes(data))
    assert [row.key for row in source] == ["a.tar/0.txt", "a.tar/1.txt"]
    assert reasons(source) == {"a.tar/after 1.txt": "damaged archive: bad checksum"}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.tar.zst"])
@pytest.mark.parametrize("data", [b"", b"words, no archive", b"PK\x03\x04", bytes(2000)])
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(DataError, match=r"Nothing in .* can be used|is empty"):
        opened(tmp_path, name, data)


def test_an_archive_in_an_archive_is_counted(tmp_path: Path) -> None:
    inner = zip_of({"a.txt": b"words"})
    source = opened(tmp_path, "a.zip", zip_of({"good.txt": b"good words", "in.zip": inner, "deep/in.tar.gz": inner}))
    assert len(source) == 1
    assert set(reasons(source)) == {"a.zip/in.zip", "a.zip/deep/in.tar.gz"}
    assert "not opened" in reasons(source)["a.zip/in.zip"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.tar.zst"])
def test_bombs_are_refused_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("seedbed.data.files.FREE_INFLATED_BYTES", 1 << 20)
    files = {"small.txt": b"small words", "bomb.txt": bytes(30 << 20)}
    data = zip_of(files) if name == "a.zip" else COMPRESSIONS[name[2:]](tar_of(files))
    assert len(data) < 1 << 17
    before = set(archives._home().iterdir())
    with pytest.raises(DataError, match="decompresses to more than") as caught:
        opened(tmp_path, name, data)
    assert caught.value.exit_code == 3 and set(archives._home().iterdir()) == before


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    with pytest.raises(DataError, match="more than 3 entries"):
        opened(tmp_path, "a.zip", zip_of(FILES))


def test_an_xz_that_asks_for_too_much_memory(tmp_path: Path) -> None:
    greedy = lzma.compress(b"words", format=lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}])
    (tmp_path / "a.txt.xz").write_bytes(greedy)
    with pytest.raises(Unreadable, match=r"damaged xz file: Memory usage limit"):
        list(chunks(tmp_path / "a.txt.xz"))


def test_no_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedbed.data.archives.shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(MachineError, match=r"no room to unpack a\.zip") as caught:
        opened(tmp_path, "a.zip", zip_of(FILES))
    assert "TMPDIR" in caught.value.fix


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_write", full)
    with pytest.raises(MachineError, match="cannot be used"):
        opened(tmp_path, "a.zip", zip_of(FILES))


def test_an_archive_is_unpacked_once_and_again_when_it_changes(tmp_path: Path) -> None:
    first = opened(tmp_path, "a.zip", zip_of({"a.txt": b"old words"}))
    again = open_source(tmp_path / "a.zip", Settings())
    assert archives.unpack(tmp_path / "a.zip") is archives.unpack(tmp_path / "a.zip") and first == again
    time.sleep(0.01)
    changed = opened(tmp_path, "a.zip", zip_of({"a.txt": b"new words, more of them"}))
    assert [row.raw for row in changed] == [b"new words, more of them"]


def test_what_was_unpacked_goes_with_the_process(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of(FILES))
    temporary = tmp_path / "t"
    temporary.mkdir()
    program = (
        "import sys, os; from seedbed.core.settings import Settings; from seedbed.data.source import open_source\n"
        "assert len(open_source(sys.argv[1], Settings())) == 8\n"
        "assert len(os.listdir(os.environ['TMPDIR'])) == 1\n"
        "if len(sys.argv) > 2: os.kill(os.getpid(), 9)\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "a.zip")]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    assert subprocess.run(words, env=environment).returncode == 0 and not list(temporary.iterdir())
    assert subprocess.run([*words, "kill"], env=environment).returncode == -9 and len(list(temporary.iterdir())) == 1
    assert subprocess.run(words, env=environment).returncode == 0 and not list(temporary.iterdir())
