"""Zip and tar archives: unpacked for as long as this process lives, each entry safe, bounded and accounted for."""

from __future__ import annotations

import atexit
import lzma
import os
import platform
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from seedbed.core.errors import MachineError
from seedbed.core.runs import FULL, is_alive, machine_error
from seedbed.data.files import (
    CHUNK_BYTES,
    chunks,
    damage_of,
    is_litter,
    most_decoded,
    reason_of,
    require_bounded,
    shown,
)
from seedbed.data.rows import Quarantined, TooLarge, Unreadable

ZIP = ".zip"
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst")
MAX_ENTRIES = 1_000_000
_PIECE_BYTES = 64 << 10  # of a stream at once; what a cut file holds beyond the last whole piece is lost
_DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
)


class Entry(NamedTuple):
    """One entry of an archive.

    Attributes:
        name: as it stands there, with "/" between folders.
        refusal: why it is not unpacked, whatever is in it; "" for a plain file.
        open: its bytes.
    """

    name: str
    refusal: str
    open: Callable[[], IO[bytes]]


class Unpacked(NamedTuple):
    """A folder with the plain files of an archive, and the entries that are not in it, by their own names."""

    folder: Path
    broken: list[Quarantined]


def archive_ending(name: str) -> str:
    """The ending that says that a file of this name is a zip or tar archive; "" if it is none."""
    return next((name[-len(ending) :] for ending in (ZIP, *TARS) if name.lower().endswith(ending)), "")


def unpack(path: Path) -> Unpacked:
    """Unpack an archive into a temporary folder, once for each state it is found in.

    Links, devices, names that lead out, second entries of one name, encrypted and damaged ones are left out and told.
    The same archive may not grow by more than `files.MAX_INFLATION`, nor hold more than MAX_ENTRIES.

    Raises:
        Unreadable: no archive, or beyond these limits.
        MachineError: there is no room for it.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise Unreadable(reason_of(error)) from error
    return _unpack(path.absolute(), state.st_size, state.st_mtime_ns)


@cache
def _unpack(path: Path, size: int, changed: int) -> Unpacked:
    most = most_decoded(size)
    entries = _zip_entries(path, most) if path.name.lower().endswith(ZIP) else _tar_entries(path)
    folder = Path(tempfile.mkdtemp(dir=_home()))
    broken: list[Quarantined] = []
    written, count, name = 0, 0, ""
    try:
        for count, entry in enumerate(entries, 1):  # told when the archive breaks off
            if count > MAX_ENTRIES:
                raise TooLarge(f"more than {MAX_ENTRIES:,} entries")
            name = _plain_name(entry.name)
            reason = _refusal(entry.name) or entry.refusal
            if not reason and any(is_litter(part) for part in name.split("/")):
                continue
            target = folder / name
            if not reason and target.exists():
                reason = "a second entry of this name"
            if not reason:
                written, reason = _write(entry, target, written, most)
            if reason:
                broken.append(Quarantined(name, reason))
            else:
                os.utime(target, ns=(changed, changed))  # so that the same archive gives the same files
    except TooLarge:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except OSError as error:
        raise machine_error(folder, error) from error
    except (*_DAMAGE, Unreadable) as error:
        if not count:
            raise Unreadable(f"damaged archive: {damage_of(error)}") from error
        broken.append(Quarantined(f"after {name}", f"damaged archive: {damage_of(error)}"))
    return Unpacked(folder, broken)


def _write(entry: Entry, target: Path, written: int, most: int) -> tuple[int, str]:
    """Write one entry; how many bytes are written of the archive by now, and the reason why this one is not, or ""."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with entry.open() as stream, target.open("xb") as sink:
            while chunk := stream.read(CHUNK_BYTES):
                written += len(chunk)
                require_bounded(written, most)
                sink.write(chunk)
    except Unreadable:
        target.unlink(missing_ok=True)
        raise
    except _DAMAGE as error:
        target.unlink(missing_ok=True)
        return written, f"damaged in the archive: {damage_of(error)}"
    except OSError as error:
        if error.errno in FULL:
            raise
        target.unlink(missing_ok=True)
        return written, reason_of(error)
    return written, ""


def _plain_name(name: str) -> str:
    """The name of an entry in keys."""
    parts = [part for part in PurePosixPath(shown(Path(name))).parts if part != "/"]
    return "/".join(parts) or "(no name)"


def _refusal(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ":" in path.parts[0]:
        return "its name is an absolute path"
    return "its name leads out of the archive" if ".." in path.parts else ""


def _zip_entries(path: Path, most: int) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            size = sum(info.file_size for info in infos)
            require_bounded(size, most)
            _require_room(path, size)
            for info in infos:
                yield Entry(_zip_name(info), _zip_refusal(info), partial(archive.open, info))
    except OSError as error:
        if error.errno in FULL:
            raise
        raise Unreadable(reason_of(error)) from error


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Names are UTF-8 if a flag says so; many programs write UTF-8 without it."""
    name = info.filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode()
        except UnicodeError:
            pass  # it is in code page 437, or in another one that nothing tells of
    return name.replace("\\", "/")


def _zip_refusal(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if info.flag_bits & 1:
        return "encrypted"
    kind = stat.S_IFMT(mode)
    return "a link, not a file" if kind == stat.S_IFLNK else "" if kind in (0, stat.S_IFREG) else "no plain file"


class _Strict(tarfile.TarInfo):
    """A header that says so when it is damaged; tarfile would take it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Strict:
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError) as error:  # type: ignore[attr-defined]  # typeshed leaves them out
            raise tarfile.ReadError(str(error)) from error


class _Stream:
    """Pieces of bytes as something tarfile can read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held = pieces, b""

    def read(self, size: int) -> bytes:
        while len(self._held) < size and (piece := next(self._pieces, b"")):
            self._held += piece
        data, self._held = self._held[:size], self._held[size:]
        return data


def _tar_entries(path: Path) -> Iterator[Entry]:
    _require_room(path, path.stat().st_size)
    stream = cast("IO[bytes]", _Stream(chunks(path, _PIECE_BYTES)))
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Strict, bufsize=_PIECE_BYTES) as archive:
        for info in archive:
            if not info.isdir():
                refusal = (
                    "a link, not a file" if info.issym() or info.islnk() else "" if info.isreg() else "no plain file"
                )
                yield Entry(info.name, refusal, partial(_opened, archive, info))


def _tar_refusal(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "a link, not a file"
    return "" if info.isreg() else "no plain file"


def _opened(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(info)
    assert stream is not None, "a plain file has bytes"
    return stream


@cache
def _home() -> Path:
    """A folder that goes when this process does; what killed processes left of theirs goes now."""
    prefix = f"seedbed-{platform.node()}-"
    for old in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        process = old.name.removeprefix(prefix).partition("-")[0]
        if process.isdigit() and not is_alive(int(process)):
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _require_room(path: Path, size: int) -> None:
    room = shutil.disk_usage(_home()).free
    if size > room:
        raise MachineError(
            f"There is no room to unpack {path.name}.",
            found=f"{size:,} bytes to write, {room:,} free in {_home().parent}",
            fix="Set TMPDIR to a folder with room, or unpack it yourself and give the folder.",
        )
