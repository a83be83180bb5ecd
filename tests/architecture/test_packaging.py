"""The package list and the data patterns in setup.cfg are written by hand: keep them honest."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

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


def test_both_packages_tell_type_checkers_that_they_are_typed() -> None:
    assert all((folder / "py.typed").is_file() for folder in FOLDERS.values())
