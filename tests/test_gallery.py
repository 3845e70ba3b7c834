"""The gallery's page: its commands are commands, and what it shows is there."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest

from archc.cli import diagram
from archc.diagram.theme import THEMES
from archc.diagram.views import VIEWS
from conftest import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    found = spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "make_gallery", module)
        found.loader.exec_module(module)
    return module


def test_every_command_makes_its_picture(gallery: ModuleType) -> None:
    names = []
    for _, _, shots in gallery.PARTS:
        for shot in shots:
            program, command, *words = shlex.split(shot.command)
            options = diagram.parser().parse_args(words)
            assert (program, command) == ("archc", "diagram")
            assert [(ROOT / spec).is_file() for spec in map(str, options.spec)] == [True]
            assert (options.view, options.theme, options.output) == (shot.view, shot.theme, shot.name)
            names.append(shot.name)
    assert len(set(names)) == len(names)


def test_every_view_and_theme_is_shown(gallery: ModuleType) -> None:
    shots = [shot for _, _, part in gallery.PARTS for shot in part]
    assert {(shot.view, shot.theme) for shot in shots} == {(view, theme) for view in VIEWS for theme in THEMES}


def test_the_page_is_that_of_the_program(gallery: ModuleType) -> None:
    """As `python docs/make_gallery.py` writes it, with all its pictures beside it and no others."""
    if not gallery.GALLERY.is_dir():
        pytest.skip("no gallery has been made")
    page = (gallery.GALLERY / "README.md").read_text(encoding="utf-8")
    assert page == gallery.page()
    assert set(re.findall(r"\]\((\S+\.png)\)", page)) == {path.name for path in gallery.GALLERY.glob("*.png")}


def test_a_picture_is_small_and_the_same_twice(gallery: ModuleType) -> None:
    shot = gallery.Shot("googlenet.arch", "chart")
    png = shot.draw()
    assert len(png) <= gallery.MOST
    assert png == shot.draw()
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == gallery.SIZE
