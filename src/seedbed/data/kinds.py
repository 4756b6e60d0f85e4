"""What the files of a source are: which of them are data, of which kind, and what is left aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from seedbed.core.errors import DataError, MachineError
from seedbed.data import arrays, cifar, decode_image, decode_text, table_files
from seedbed.data.files import Found
from seedbed.data.rows import Quarantined, listed, nothing_left, number

ARRAYS, CIFAR, TABLES, IMAGES, TEXTS = "arrays", "cifar", "tables", "images", "texts"
_BESIDE = ("readme", "license", "licence", "classes", "class", "labels", "changelog", "notice", "original_readme")
_READ = "Parquet, Arrow, CSV, TSV, JSON, .txt and .md, images, IDX, .npy and .npz, and zip and tar archives of them"
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
_FIRST = 100  # files looked into where none has a known name
_PACKED = (".7z", ".rar")


def kind_of(file: Found) -> str:
    """The kind of a file by its name; "" if it is none that can be read."""
    if arrays.is_array(file.path):
        return ARRAYS
    if cifar.is_cifar(file.path):
        return CIFAR
    if file.suffix in table_files.SUFFIXES:
        return TABLES
    if decode_image.sniff(file.path):
        return IMAGES
    return TEXTS if decode_text.sniff(file.path) else ""


def by_kind(
    files: Sequence[Found], where: str, broken: Sequence[Quarantined], *, asked: bool
) -> dict[str, list[Found]]:
    """Files by their kind, those that are not read under "".

    Args:
        files: all there are.
        where: what was asked for, in words.
        broken: what could not even be listed, for the error.
        asked: whether each file was named by the user; else a readme and its like are left aside.

    Raises:
        DataError: nothing that can be read is there.
        MachineError: nothing may be read.
    """
    kinds: dict[str, list[Found]] = {}
    for file in files:
        kind = kind_of(file)
        beside = not asked and kind == TEXTS and file.base.lower().split(".")[0] in _BESIDE
        kinds.setdefault("" if beside else kind, []).append(file)
    if not any(kinds):
        raise _nothing_known(files, where, broken)
    return kinds


def likeliest(kinds: Mapping[str, Sequence[Found]]) -> str:
    """The kind the data are of: that of most files, but a table holds many rows and a text beside it tells of it."""
    known = Counter({kind: len(found) for kind, found in kinds.items() if kind})
    if TABLES in known and known[TEXTS] <= 3 * known[TABLES] and known[IMAGES] <= known[TABLES]:
        return TABLES
    return known.most_common(1)[0][0]


def say_left(kinds: Mapping[str, Sequence[Found]], used: Collection[str], understood: list[str]) -> None:
    """Name the files of kinds that are not used."""
    left = [file.base for kind, found in kinds.items() if kind not in used for file in found]
    if left:
        understood.append(f"{number(len(left), 'file')} of other kinds not used: {listed(left)}")


def _is_pickle(file: Found) -> bool:
    """Whether a file begins as pickles of protocols 2 to 5 do."""
    try:
        with file.path.open("rb") as stream:
            head = stream.read(2)
    except OSError:
        return False
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def _nothing_known(files: Sequence[Found], where: str, broken: Sequence[Quarantined]) -> DataError | MachineError:
    if broken and not files:
        if any("ermission denied" in entry.reason for entry in broken):
            return MachineError(f"{where} cannot be listed.", found=broken[0].reason, fix=f"chmod -R +rX {where}")
        return nothing_left(where, broken)
    suffixes = Counter(file.suffix or file.base for file in files)
    found = ", ".join(f"{number(count, 'file')} {suffix}" for suffix, count in suffixes.most_common(5))
    cause, fix = f"Read are {_READ}.", "Give a file of one of these kinds, or a folder with some."
    if any(suffix in _PICKLES for suffix in suffixes) or any(map(_is_pickle, files[:_FIRST])):
        cause = "Pickles can run programs when they are opened, so they never are. " + cause
        if any(cifar.is_python_batch(file.path) for file in files):
            fix = "Fetch the binary version of CIFAR, such as cifar-10-binary.tar.gz, and give that."
    elif packed := next((file for file in files if file.suffix in _PACKED), None):
        cause, fix = f"{packed.suffix} archives cannot be opened; .zip and .tar can.", "Unpack it first."
    what = f"There are no data in {where}." if files else f"{where} is empty."
    return DataError(what, found=found, cause=cause, fix=fix)
