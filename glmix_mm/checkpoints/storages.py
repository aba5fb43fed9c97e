"""Compares what a checkpoint claims of its tensors' sizes with what the file holds.

Some releases of torch (2.9 was seen to) take a claim at its word, so that a tensor reaches into
memory that is not the file's: another's secrets, or a crash.
"""

import pickle
import zipfile
from collections.abc import Iterator

# Bytes of an element, by the name of torch's storage type.
ITEM_SIZES = {
    f'{kind}Storage': size
    for size, kinds in {
        1: 'Untyped Bool Byte Char QInt8 QUInt8 QUInt4x2 QUInt2x4',
        2: 'Half BFloat16 Short',
        4: 'Float Int QInt32',
        8: 'Double Long ComplexFloat',
        16: 'ComplexDouble',
    }.items()
    for kind in kinds.split()
}


class Inert:
    """Replaces whatever a pickle names; accepts everything and does nothing."""

    def __new__(cls, *args, **kwargs):
        """Take the arguments."""
        return super().__new__(cls)

    def __init__(self, *args, **kwargs) -> None:
        """Take the arguments."""

    def _ignore(self, *args, **kwargs) -> None:
        """Take the arguments."""

    __setstate__ = __setitem__ = append = extend = add = update = _ignore


class _Claims(pickle._Unpickler):
    """Goes through a pickle without making anything of it but Python's plain types.

    The implementation in Python, as in C a pickle of a few bytes can ask for any amount of memory.
    """

    def __init__(self, file) -> None:
        super().__init__(file)
        self.bytes: dict[str, int] = {}  # by the storage's key

    def find_class(self, module: str, name: str) -> type:
        """Return a stand-in of that name."""
        return type(name, (Inert,), {})

    def persistent_load(self, pid: tuple) -> Inert:
        """Note a storage: torch's ('storage', its type, key, device, number of elements)."""
        _, kind, key, _, count = pid
        self.bytes[key] = max(self.bytes.get(key, 0), count * ITEM_SIZES[kind.__name__])
        return Inert()


def claimed_storages(archive: zipfile.ZipFile) -> Iterator[tuple[str, int, int]]:
    """Yield each storage of a checkpoint: its record, the bytes it claims, those that are there.

    Args:
        archive: the checkpoint, as torch saves it.

    Raises:
        ValueError: it holds none or several pickles, so that torch may read another one.
        Exception: of any other kind, if its pickle is none that torch makes.
    """
    names = [name for name in archive.namelist() if name.endswith('data.pkl')]
    if len(names) != 1:
        raise ValueError(f'it holds {len(names)} pickles instead of one')
    (name,) = names
    with archive.open(name) as file:
        claims = _Claims(file)
        claims.load()
    for key, claimed in claims.bytes.items():
        record = f'{name.removesuffix("data.pkl")}data/{key}'
        yield record, claimed, archive.getinfo(record).file_size
