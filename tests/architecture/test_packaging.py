"""What setup.cfg and hosted CI list by hand is what the disk, the archives and tox have."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from configparser import ConfigParser
from email import message_from_bytes
from email.message import Message
from itertools import product
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest
from setuptools import find_packages

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = {
    "trigger_celery": ROOT / "trigger_celery",
    "trigger_celery_django": ROOT / "django_app" / "trigger_celery_django",
}


def setup_cfg() -> ConfigParser:
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    return config


def test_every_package_on_disk_is_shipped() -> None:
    on_disk = {
        *find_packages(str(ROOT), include=["trigger_celery*"]),
        *find_packages(str(ROOT / "django_app")),
    }
    assert set(setup_cfg()["options"]["packages"].split()) == on_disk


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for root in FOLDERS.values() for path in root.rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_every_data_file_is_shipped() -> None:
    patterns = setup_cfg()["options.package_data"]
    for package, folder in FOLDERS.items():
        shipped = {path for pattern in patterns[package].split() for path in folder.glob(pattern)}
        on_disk = {
            path
            for path in folder.rglob("*")
            if path.is_file() and path.suffix not in {".py", ".pyc"}
        }
        assert sorted(on_disk - shipped) == []


def test_both_packages_are_marked_as_typed_for_type_checkers() -> None:
    assert all((folder / "py.typed").is_file() for folder in FOLDERS.values())


LEFT_OUT = shutil.ignore_patterns(
    ".*_cache", ".git", ".hypothesis", ".tox", ".venv", "*.egg-info", "build", "dist"
)
BUILD = (
    "from setuptools import build_meta as b; print(b.build_sdist('dist'), b.build_wheel('dist'))"
)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the sdist and the wheel, built from a copy: a build writes beside it."""
    copy = tmp_path_factory.mktemp("built") / "copy"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    done = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=copy, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "dist"


def in_wheel(archives: Path) -> dict[str, bytes]:
    (wheel,) = archives.glob("*.whl")
    with ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def metadata(archives: Path) -> Message:
    (found,) = [
        text for name, text in in_wheel(archives).items() if name.endswith("dist-info/METADATA")
    ]
    return message_from_bytes(found)


def test_the_wheel_has_both_packages_and_nothing_else(archives: Path) -> None:
    shipped = {name for name in in_wheel(archives) if ".dist-info/" not in name}
    on_disk = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert shipped == on_disk


def test_the_source_archive_has_the_documentation_and_the_tests(archives: Path) -> None:
    (archive,) = archives.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        shipped = {PurePosixPath(name).relative_to(archive.name[:-7]) for name in opened.getnames()}
    wanted = {
        PurePosixPath(path.relative_to(ROOT).as_posix())
        for folder in ("docs", "tests", "example_project", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not {"__pycache__", ".trigger"} & set(path.parts)
    }
    top = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "SECURITY.md", "tox.ini"}
    assert sorted((wanted | {PurePosixPath(name) for name in top}) - shipped) == []


def test_links_of_the_long_description_work_outside_the_repository(archives: Path) -> None:
    found = metadata(archives)
    text = str(found.get_payload())
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    assert {line.split(",")[0] for line in found.get_all("Project-URL", [])} >= {
        "Changelog",
        "Documentation",
        "Issues",
        "Source",
    }


def test_hosted_tests_run_on_every_pair_that_tox_knows() -> None:
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini")
    pairs = {
        "".join(parts)
        for line in config["tox"]["env_list"].split()
        for parts in product(*(part.split(",") for part in re.split(r"[{}]", line)))
        if line.startswith("py")
    }
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert set(re.findall(r"^ +- (py3\S+)$", workflow, re.M)) == pairs
