"""Where a run happens: its folder of files that vanish afterwards, and the interpreters it uses."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from bench.certificates import Certificates, make_certificates
from bench.pattern import write_pattern
from bench.process import BenchError

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path(__file__).resolve().parent / "requirements.txt"
VENV = ROOT / ".venv-bench"
COMMANDS = {"nginx": "nginx", "wrk": "wrk", "curl": "curl", "openssl": "openssl"}
ACCESS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret"}


@dataclass(frozen=True, slots=True)
class Workplace:
    """Files of one run, and what runs them."""

    folder: Path
    pattern: Path
    certificates: Certificates
    python: Path  # of the baselines
    service_python: Path

    def source(self, size: int) -> Path:
        """A file of `size` bytes to upload: zeros that take no disk, read once so that the page cache has them."""
        path = self.folder / f"upload-{size}"
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(size)
            with path.open("rb") as file:
                while file.read(1024 * 1024):
                    pass
        return path


def make_workplace(folder: Path, service_python: Path) -> Workplace:
    """Check the commands, prepare the baselines' interpreter, write the files."""
    for command, package in COMMANDS.items():
        if shutil.which(command, path=search_path()) is None:
            raise BenchError(f"{command} is not installed (on Debian: apt-get install {package})")
    folder.chmod(0o755)
    return Workplace(
        folder=folder,
        pattern=write_pattern(folder / "pattern"),
        certificates=make_certificates(folder),
        python=_baseline_python(),
        service_python=service_python,
    )


def search_path() -> str:
    """The folders commands are looked for in; Debian keeps nginx where only root looks."""
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"


def _baseline_python() -> Path:
    """`.venv-bench`, made or made again when requirements.txt has changed."""
    python, stamp = VENV / "bin" / "python", VENV / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"preparing {VENV.name} (once)", file=sys.stderr)
    venv.create(VENV, clear=True, with_pip=True)
    (VENV / ".gitignore").write_text("*\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
    stamp.write_text(wanted)
    return python
