"""Makes `proto/*_pb2*` from the .proto files: `python -m tests.house.stubs DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def make_stubs(directory: Path) -> None:
    """Write the stubs of every contract below `directory`."""
    plugins = [f"--plugin=protoc-gen-{name}={BIN / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    outputs = [f"--{kind}_out=quiet:{directory}" for kind in ("mypy", "mypy_grpc")]
    outputs += [f"--{kind}_out={directory}" for kind in ("python", "grpc_python")]
    contracts = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "proto").glob("*.proto"))
    code = protoc.main(["protoc", *plugins, f"--proto_path={ROOT}", *outputs, *contracts])
    if code != 0:
        raise SystemExit(f"protoc ended with {code}")


if __name__ == "__main__":
    make_stubs(Path(sys.argv[1]))
