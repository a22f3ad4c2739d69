"""Which packages make a Docker with CDI on which Debian."""

import pytest

from gpubox.host import HostProblem, debian
from gpubox.host.debian import plan_for

MIRRORS = {"archive": "http://mirror.example/debian", "security": "http://mirror.example/security"}


def test_debian_12_takes_docker_from_debian_13_and_nothing_else():
    plan = plan_for("bookworm", candidate="20.10.24+dfsg1-1", **MIRRORS)
    assert "Suites: trixie trixie-updates" in plan.sources
    everything, engine = plan.preferences.split("\n\n")
    assert "Package: *\n" in everything and "Pin-Priority: 50" in everything
    assert "docker.io" in engine and "Pin-Priority: 600" in engine


def test_debian_12_keeps_its_own_runc():
    # Debian 13's runc needs a C library that Debian 12 has not.
    plan = plan_for("bookworm", candidate="20.10.24+dfsg1-1", **MIRRORS)
    assert "runc" in plan.packages
    assert "runc" not in plan.preferences


def test_the_machines_own_mirrors_are_used():
    plan = plan_for("bookworm", candidate="", **MIRRORS)
    assert "URIs: http://mirror.example/debian\n" in plan.sources
    assert "URIs: http://mirror.example/security\n" in plan.sources


def test_a_machine_without_a_security_mirror_gets_no_made_up_one():
    plan = plan_for("bookworm", candidate="", archive="http://mirror.example/debian", security="")
    assert plan.sources.count("Types: deb") == 1


def test_a_machine_without_a_mirror_is_refused_in_a_sentence():
    with pytest.raises(HostProblem, match="knows no mirror"):
        plan_for("bookworm", candidate="", archive="", security="")


@pytest.mark.parametrize("candidate", ["26.1.5+dfsg1-9", "5:28.0.1-1", "25.0.0"])
def test_where_debian_has_a_docker_with_cdi_no_source_is_added(candidate):
    plan = plan_for("trixie", candidate=candidate, **MIRRORS)
    assert (plan.sources, plan.preferences) == ("", "")


def test_an_older_debian_is_refused_in_a_sentence():
    with pytest.raises(HostProblem, match="Debian 12 or newer"):
        plan_for("bullseye", candidate="20.10.5", **MIRRORS)


def test_another_system_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(debian.shutil, "which", lambda name: None)
    with pytest.raises(HostProblem, match="Install Docker 25 or newer"):
        debian.install_docker(print)


def test_mirrors_are_told_apart_by_their_label():
    listing = (
        "http://deb.example/debian/ Debian\nhttp://deb.example/debian-security/ Debian-Security\n"
        "https://download.example/linux/debian Docker CE\n"
    )
    assert debian.mirrors(listing) == {
        "Debian": "http://deb.example/debian",
        "Debian-Security": "http://deb.example/debian-security",
        "Docker CE": "https://download.example/linux/debian",
    }


def test_os_release_is_read_with_and_without_quotes():
    assert debian.os_release('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12"\n\n# x\n') == {
        "ID": "debian",
        "PRETTY_NAME": "Debian GNU/Linux 12",
    }
