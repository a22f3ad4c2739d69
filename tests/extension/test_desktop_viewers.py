"""Who controls the desktop, and what those who do not may send."""

from __future__ import annotations

import pytest

from jupyterlab_gpubox.desktop.rfb import CHANGES, Kind
from jupyterlab_gpubox.desktop.viewers import Viewers


@pytest.fixture
def viewers() -> Viewers:
    """Ana's two tabs, then Ben who watches."""
    viewers = Viewers()
    viewers.join("ana-1", "ana", is_view_only=False)
    viewers.join("ana-2", "ana", is_view_only=False)
    viewers.join("ben-1", "ben", is_view_only=True)
    return viewers


def test_the_first_controls_until_another_takes_it(viewers):
    assert (viewers.controller, viewers.controller_name, len(viewers)) == ("ana-1", "ana", 3)
    assert viewers.take_control("ana-2")
    assert viewers.controller == "ana-2"


def test_only_the_one_who_controls_sets_the_size_and_both_type(viewers):
    assert viewers.may_send("ana-1", Kind.DESKTOP_SIZE)
    assert not viewers.may_send("ana-2", Kind.DESKTOP_SIZE)
    for viewer in ("ana-1", "ana-2"):
        assert viewers.may_send(viewer, Kind.KEY)
        assert viewers.may_send(viewer, Kind.CUT_TEXT)


def test_who_watches_changes_nothing_and_never_controls(viewers):
    assert not viewers.take_control("ben-1")
    assert not any(viewers.may_send("ben-1", kind) for kind in CHANGES)
    assert viewers.may_send("ben-1", Kind.PICTURE)
    viewers.leave("ana-1")
    viewers.leave("ana-2")
    assert (viewers.controller, viewers.controller_name) == (None, "")


def test_the_newest_left_controls_when_the_one_who_did_has_gone(viewers):
    viewers.join("cem-1", "cem", is_view_only=False)
    viewers.leave("ana-1")
    assert viewers.controller == "cem-1"
    viewers.leave("ana-2")
    assert viewers.controller == "cem-1"


def test_a_page_is_there_as_long_as_one_of_its_connections_is(viewers):
    viewers.join("ana-1", "ana", is_view_only=False)
    viewers.leave("ana-1")
    assert (len(viewers), viewers.controller) == (3, "ana-1")
    viewers.leave("ana-1")
    assert (len(viewers), viewers.controller) == (2, "ana-2")


def test_a_page_whose_second_connection_only_watches_does_not_control_any_more(viewers):
    viewers.join("ana-1", "ana", is_view_only=True)
    assert viewers.controller == "ana-2"
    assert not viewers.may_send("ana-1", Kind.KEY)


def test_nobody_switches_the_machine_off_and_strangers_send_nothing(viewers):
    assert not viewers.may_send("ana-1", Kind.POWER)
    assert not viewers.may_send("nobody", Kind.KEY)
