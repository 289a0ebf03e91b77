"""Which base checkpoint an adapter was made for: the one hash of the trainer and of who lets an adapter in.

Read from the checkpoint's files with the standard library alone. Knows no weights.
"""

import hashlib
from pathlib import Path


def base_sha256(base: Path) -> str:
    """SHA-256 of `config.json` and of every weight file's name and size in bytes.

    Sizes and not contents: hashing a large model's weights takes minutes, and a changed architecture, a
    changed dtype or another quantisation changes the config or a size.
    """
    digest = hashlib.sha256((base / "config.json").read_bytes())
    for file in sorted(base.glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
    return digest.hexdigest()
