"""Builds the kernels; everything else about the project stands in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

WARNINGS = ["-Wall", "-Wextra", "-Werror"] if os.environ.get("INGOT_STRICT_C") else []
FLAGS = ["-O3", "-std=c11", *WARNINGS]


def kernel(name: str, *sources: str) -> Extension:
    """One native module: its Cython face and the plain C beside it."""
    return Extension(
        f"ext.{name}",
        [f"ext/{name}.pyx", *(f"ext/{source}" for source in sources)],
        extra_compile_args=FLAGS,
        depends=[f"ext/{source.removesuffix('.c')}.h" for source in sources],
    )


setup(
    ext_modules=cythonize(
        [
            kernel("cut", "cut_scan.c", "sector_value.c", "cpu.c"),
            kernel("fingerprint", "sha256_lanes.c", "cpu.c"),
        ],
        language_level=3,
        build_dir="build/cython",
    ),
)
