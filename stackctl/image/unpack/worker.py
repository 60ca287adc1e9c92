"""The process that unpacks one layer: standard input -> a directory, a line of JSON at the end.

    python -I -S -c "..." DIRECTORY        (see stackctl.image.unpack.process)

A process of its own: the daemon's loop does not wait for it, several run on as many
processors, and what a hostile layer might achieve ends with it. Once everything is
imported it locks itself up in the directory (chroot), so that there is nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Exit code 0 with the outcome, or with the reason for refusing, as JSON."""
    from stackctl.image.unpack import stream
    from stackctl.image.unpack.extract import Extractor
    from stackctl.image.unpack.failure import BadLayer

    _import_all(stream)
    directory = sys.argv[1]
    # Nothing is imported any more: what looks like a module now is the layer's.
    sys.path.clear()
    sys.meta_path.clear()
    os.umask(0)
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chroot(directory)
        os.chdir("/")
    except PermissionError:
        pass  # a nested engine may lack the right; the descriptors hold
    began = time.monotonic()
    source = stream.Source(lambda size: os.read(0, size))
    extractor = Extractor(root)
    try:
        extractor.run(source)
        source.finish()
        outcome = {
            "diff_id": source.diff_id,
            "tar_size": source.size,
            "size": extractor.size,
            "entries": extractor.count,
            "implied": sorted(os.fsdecode(path) for path in extractor.implied),
            "seconds": time.monotonic() - began,
        }
    except BadLayer as error:
        outcome = {"bad": str(error)}
    except OSError as error:
        outcome = {"errno": error.errno, "text": error.strerror, "file": str(error.filename or "")}
    except (MemoryError, RecursionError):
        outcome = {"bad": "it needs more memory than there is"}
    data = json.dumps(outcome).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]
    os._exit(0)


def _import_all(stream: object) -> None:
    """Every module that could be asked for later, and what they load lazily."""
    import bz2
    import lzma

    from isal import isal_zlib

    zstd = stream.zstd_module()  # type: ignore[attr-defined]
    zstd.ZstdDecompressor()
    isal_zlib.decompressobj(wbits=31)
    bz2.BZ2Decompressor()
    lzma.LZMADecompressor()
    _ = (OSError(2, "x").strerror, os.fsdecode(b"x"), json.dumps({"x": 1}))
