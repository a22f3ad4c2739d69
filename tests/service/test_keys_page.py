"""The SSH page in a real browser: keys come and go, and what is refused is said."""

import subprocess

import pytest
from playwright.sync_api import expect

from service.stage import PHONE, fits

PATH = "keys"


@pytest.fixture
def make_key(tmp_path):
    def make(name, *options):
        file = tmp_path / name
        command = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            f"{name}@laptop",
            "-f",
            str(file),
            *options,
        ]
        subprocess.run(command, check=True)
        return file

    return make


def public(file):
    return file.with_suffix(".pub").read_text()


def test_a_key_is_added_with_its_comment_for_a_name_and_deleted_after_a_question(look, make_key):
    page = look("zoe", path=PATH)
    expect(page.get_by_text("None yet.")).to_be_visible()
    expect(page.locator("#gb-command")).to_have_text("ssh -p 2222 zoe@127.0.0.1")
    expect(page.get_by_role("link", name="SSH")).to_have_attribute("aria-current", "page")

    key = make_key("new")
    page.get_by_label("Public key").fill(public(key))
    page.get_by_role("button", name="Add key").click()
    row = page.locator(".gb-key")
    expect(row).to_contain_text("new@laptop")
    expect(row).to_contain_text("Ed25519 · added")
    expect(row).to_contain_text("never used")
    printed = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True).stdout
    expect(row).to_contain_text(printed.split()[1])
    expect(page.get_by_label("Public key")).to_have_value("")

    row.get_by_role("button", name="Delete new@laptop…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("connections that it opened are closed at once")
    expect(dialog.get_by_role("button", name="Back")).to_be_focused()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("None yet.")).to_be_visible()


def test_a_private_key_is_refused_loudly_and_does_not_stay_on_the_screen(look, make_key):
    page = look("yann", path=PATH)
    page.get_by_label("Public key").fill(make_key("secret").read_text())
    page.get_by_role("button", name="Add key").click()
    expect(page.locator("#gb-key-said")).to_contain_text("This is a PRIVATE key")
    expect(page.get_by_label("Public key")).to_have_value("")
    expect(page.get_by_label("Public key")).to_be_focused()


def test_a_name_is_text_whatever_it_is_and_somebody_elses_key_is_refused(look, make_key):
    key = make_key("shared")
    page = look("ada", path=PATH)
    page.get_by_label("Public key").fill(public(key))
    page.get_by_label("Name", exact=True).fill("<img src=x onerror=alert(1)>")
    page.get_by_role("button", name="Add key").click()
    expect(page.locator(".gb-key strong")).to_have_text("<img src=x onerror=alert(1)>")
    page.get_by_label("Public key").fill(public(key))
    page.get_by_role("button", name="Add key").click()
    expect(page.locator("#gb-key-said")).to_contain_text("This key is here already")

    other = look("eve", path=PATH)
    other.get_by_label("Public key").fill(public(key))
    other.get_by_role("button", name="Add key").click()
    expect(other.locator("#gb-key-said")).to_contain_text("belongs to somebody else")
    expect(other.get_by_text("None yet.")).to_be_visible()


def test_the_command_is_fit_for_a_shell_whatever_ones_name_is(look):
    page = look("o'brien x", path=PATH)
    expect(page.locator("#gb-command")).to_have_text("ssh -p 2222 'o'\\''brien x@127.0.0.1'")
    page.get_by_text("A short name").click()
    expect(page.locator("#gb-config")).to_contain_text('User "o\'brien x"')


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(look, make_key, scheme):
    page = look(f"phone-{scheme}", path=PATH, viewport=PHONE, color_scheme=scheme)
    page.get_by_label("Public key").fill(public(make_key("a-rather-long-name-of-a-machine-" * 3)))
    page.get_by_role("button", name="Add key").click()
    expect(page.locator(".gb-key")).to_be_visible()
    page.get_by_text("A short name").click()
    assert fits(page)
