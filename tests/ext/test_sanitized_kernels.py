"""The plain C of the kernels under the address and undefined-behaviour sanitizers, and under every warning."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXT = HERE.parents[1] / "ext"
KERNELS = ["cut_scan.c", "sector_value.c", "sha256_lanes.c", "cpu.c"]
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", f"-I{EXT}"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

COMPILER = shlex.split(os.environ.get("CC", "cc"))

needs_a_compiler = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason=f"no C compiler {COMPILER[0]!r}")


def compiled(*arguments):
    return subprocess.run([*COMPILER, *map(str, arguments)], capture_output=True, text=True, check=False)


@needs_a_compiler
def test_the_kernels_touch_nothing_but_their_arguments_and_agree_with_one_another(tmp_path):
    empty = tmp_path / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    if compiled(*SANITIZERS, empty, "-o", tmp_path / "empty").returncode:
        pytest.skip(f"{COMPILER[0]} has no address and undefined sanitizers here")

    program = tmp_path / "sanitize"
    build = compiled(*FLAGS, *SANITIZERS, HERE / "sanitize.c", *(EXT / name for name in KERNELS), "-o", program)
    assert build.returncode == 0, build.stderr
    run = subprocess.run([program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@needs_a_compiler
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_compiles_without_a_warning_as_it_is_shipped(name, tmp_path):
    build = compiled(*FLAGS, "-O3", "-Wpedantic", "-Wshadow", "-c", EXT / name, "-o", tmp_path / "kernel.o")
    assert build.returncode == 0, build.stderr
