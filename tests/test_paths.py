"""Who may pass on the way to a file."""

import pytest

from gpubox.paths import closed_to


@pytest.fixture
def program(tmp_path, open_way):
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / "server"
    program.touch()
    for path in (home, home / "bin", program):
        path.chmod(0o755)
    return program


def test_an_open_way_is_closed_to_nobody(program):
    assert closed_to(program, None) is None


def test_the_first_closed_directory_is_named(program):
    home = program.parents[1]
    home.chmod(0o700)
    program.parent.chmod(0o700)
    assert closed_to(program, None) == home


def test_a_program_that_may_not_be_run_is_named(program):
    program.chmod(0o644)
    assert closed_to(program, None) == program


def test_a_member_of_the_group_may_pass_what_is_open_to_it(program):
    home = program.parents[1]
    home.chmod(0o750)
    group = home.stat().st_gid
    assert closed_to(program, 12345, [group]) is None
    assert closed_to(program, 12345, [group + 1]) == home


def test_a_link_is_followed(program, tmp_path):
    program.parents[1].chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(program)
    assert closed_to(link, None) == program.parents[1]
