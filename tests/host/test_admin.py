"""The admin's password and the state directory."""

import pytest

from gpubox import paths
from gpubox.host import HostProblem
from gpubox.host.admin import admin_password, password_file


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("GPUBOX_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def mode(path):
    return path.stat().st_mode & 0o777


def test_the_password_is_made_once_and_only_its_owner_can_read_it(state):
    password = admin_password()
    assert len(password) >= 32  # JupyterHub refuses a shorter one
    assert admin_password() == password
    assert mode(password_file()) == 0o600
    assert mode(state) == 0o700


def test_two_machines_have_different_passwords(tmp_path, monkeypatch):
    first = admin_password()
    monkeypatch.setenv("GPUBOX_DIR", str(tmp_path / "other"))
    assert admin_password() != first


def test_a_password_that_the_admin_wrote_is_kept_and_closed_to_others(state):
    paths.state_dir()
    password_file().write_text("correct horse battery staple, and then some\n")
    password_file().chmod(0o644)
    assert admin_password() == "correct horse battery staple, and then some"
    assert mode(password_file()) == 0o600


def test_a_password_too_short_for_the_hub_is_refused_in_a_sentence():
    paths.state_dir()
    password_file().write_text("secret\n")
    with pytest.raises(HostProblem, match="has 6 characters"):
        admin_password()


def test_nothing_half_written_stays_beside_the_password(state):
    admin_password()
    assert [file.name for file in state.iterdir()] == ["admin-password"]


def test_a_state_directory_open_to_others_is_closed(state):
    state.mkdir(mode=0o755)
    assert mode(paths.state_dir()) == 0o700
