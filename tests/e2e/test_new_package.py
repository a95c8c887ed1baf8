"""What `specframe new` writes passes its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from specframe.cli.scaffold.package import NewPackage


def test_every_new_package_passes_its_own_tests(tmp_path: Path) -> None:
    kinds = ("strategy", "gather", "drafter", "verifier")
    packages = [NewPackage.of(kind, f"of-{kind}", "0.1.0") for kind in kinds]
    packages.append(NewPackage.of("drafter", "with-head", "0.1.0", with_head=True))
    made = [package.write(tmp_path) for package in packages]
    path = os.pathsep.join([*map(str, made), *sys.path])
    command = [sys.executable, "-P", "-m", "pytest", "-q", "--import-mode=importlib", "-W", "error"]
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", tmp_path, *made],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout[-3000:]
