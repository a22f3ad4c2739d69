"""Install once, save, share, start: two people in browsers, on a real hub and engine."""

import io
import os
import re
import tarfile
import zipfile

import pytest
from playwright.sync_api import expect

from fixtures.browser import PATIENCE_SECONDS
from hub.test_templates import everything_in, image_of

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

IMAGE = "gpubox/cpu:" + os.environ.get("GPUBOX_IMAGE_TAG", "latest")
CPU = {"name": "cpu", "title": "CPU", "cpus": 2, "memory": "1G", "image": IMAGE}
ROOT = {"name": "root", "title": "CPU with root", "cpus": 2, "memory": "2G", "root": True, "image": IMAGE}
# The admin has made it so before there was the template; it is looked up when somebody starts.
GOLDEN = {**CPU, "name": "golden", "title": "Golden", "template": "alice/lab"}
HOSTILE = "<img src=x onerror=window.hit=1>"
WHEEL = "labtools-1.0-py3-none-any.whl"
INSTALL = f"sudo pip install -q --no-index --no-deps ~/{WHEEL} && echo home-secret > ~/mine.txt"
GREET = ["/opt/ml/bin/python", "-c", "import labtools; print(labtools.greet())"]


@pytest.fixture(scope="module")
def hub(make_module_hub):
    hub = make_module_hub(machines=[ROOT, CPU, GOLDEN], service=True).start()
    yield hub
    hub_id = hub.id
    hub.close()
    for image in hub.engine().images.list(f"gpubox/template-{hub_id}"):
        hub.engine().images.remove(image.id, force=True)


def wheel():
    """A package that any pip installs: one module, and what the specification asks for beside it."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("labtools.py", 'def greet():\n    return "hello from alice"\n')
        info = "labtools-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: labtools\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return held.getvalue()


def put_into_home(container, name, content):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    assert container.put_archive("/home/jovyan", held.getvalue())


def card(page, reference):
    return page.locator(f"[data-template={reference!r}]")


def greets(hub, user):
    return hub.container(user).exec_run(GREET, user="jovyan", workdir="/")


def token_of(hub, user):
    environment = dict(pair.split("=", 1) for pair in hub.container(user).attrs["Config"]["Env"])
    return environment["JUPYTERHUB_API_TOKEN"]


def test_what_one_has_installed_and_saved_another_starts_from(hub, visit):
    hub.run("alice", "root")
    put_into_home(hub.container("alice"), WHEEL, wheel())
    lab = visit("alice", "/user/alice/lab?reset")
    lab.locator(".jp-LauncherCard", has_text="Terminal").first.click()
    lab.locator(".jp-Terminal .xterm-screen").wait_for()
    lab.locator(".jp-Terminal").click()
    # The shell may still be on its way; what it has done is waited for, and not its prompt.
    lab.keyboard.type(f"{INSTALL}\n")
    hub.until(lambda: greets(hub, "alice").exit_code == 0, "the package is installed")

    bob = visit("bob", "/services/gpubox/templates")
    expect(bob.get_by_text("Install everything once")).to_be_visible()
    lab.get_by_role("tab", name="GPU", exact=True).click()
    lab.get_by_role("button", name="Save as template").click()
    dialog = lab.get_by_role("dialog")
    dialog.get_by_label("Name").fill("../lab")
    dialog.get_by_label("Note").fill(HOSTILE)
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("A template cannot be called '../lab'")
    dialog.get_by_label("Name").fill("lab")
    dialog.get_by_role("button", name="Save", exact=True).dblclick()
    expect(dialog).to_contain_text("Saved as version 1 of lab.")
    with lab.context.expect_page() as opened:
        dialog.get_by_role("link", name="Templates").click()
    alice = opened.value
    mine = card(alice, "alice/lab")
    expect(mine).to_contain_text(f"to {IMAGE} · saved")
    expect(mine).to_contain_text("on CPU with root")
    expect(mine.get_by_text(HOSTILE, exact=True)).to_be_visible()
    expect(alice.get_by_role("heading", level=3)).to_have_count(1)

    mine.get_by_role("button", name="Share lab…").click()
    alice.get_by_role("dialog").get_by_label("Their name at this hub").fill("bob")
    alice.get_by_role("dialog").get_by_role("button", name="Share").click()
    expect(mine.get_by_role("button", name="Share with bob no more")).to_be_visible()
    # His page is told by itself.
    theirs = card(bob, "alice/lab")
    expect(theirs).to_contain_text("by alice")
    expect(theirs.get_by_role("button", name="Actions for lab")).to_be_hidden()
    theirs.get_by_role("link", name="Start").click()
    expect(bob.get_by_label("Start from")).to_have_value("alice/lab:1")
    expect(bob.locator("#gb-template-chosen")).to_contain_text(f"{HOSTILE}by alice · ")
    expect(bob.locator("#gb-template-chosen")).to_contain_text(f"more than {IMAGE} · saved ")
    bob.locator(".gb-card").filter(has=bob.get_by_text("CPU", exact=True)).click()
    bob.get_by_role("button", name="Start", exact=True).click()
    bob.wait_for_url(re.compile(r"/user/bob/lab"))
    assert greets(hub, "bob").output.decode().strip() == "hello from alice"
    code, _ = hub.container("bob").exec_run(["ls", "/home/jovyan/mine.txt"])
    assert code != 0

    content = b"\n".join(everything_in(hub, image_of(hub, "alice/lab:1")))
    assert b"hello from alice" in content
    for word in (token_of(hub, "alice"), "home-secret", "JUPYTERHUB_API_TOKEN="):
        assert word.encode() not in content

    mine.get_by_role("button", name="Actions for lab").click()
    alice.get_by_role("menuitem", name="Delete…").click()
    alice.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(alice.get_by_role("dialog").get_by_role("alert")).to_contain_text("Golden starts from alice/lab")
    assert not any(page.evaluate("window.hit") for page in (alice, bob, lab))


def test_the_admins_choice_for_a_machine_type_needs_nobodys_leave(hub):
    hub.run("carol", "golden")
    assert greets(hub, "carol").output.decode().strip() == "hello from alice"
    hub.stop("carol")


def test_a_terminal_saves_too_and_the_page_follows(hub, visit):
    def gpubox(*words):
        answer = hub.container("alice").exec_run(["gpubox", "template", "save", *words], user="jovyan")
        return answer.exit_code, answer.output.decode()

    page = visit("alice", "/services/gpubox/templates")
    expect(card(page, "alice/lab")).to_be_visible()
    code, told = gpubox("--name", "second", "--note", "from a terminal")
    assert code == 0 and "Saved as version 1 of second." in told, told
    assert gpubox("--name", "A b")[0] == 1
    second = card(page, "alice/second")
    expect(second).to_contain_text("from a terminal")
    assert gpubox("--name", "second")[0] == 0
    expect(second).to_contain_text("2 versions")

    # Her first machine runs: a start goes by the page of all machines, each of which takes it along.
    second.get_by_role("link", name="Start a machine from alice/second", exact=True).click()
    expect(page.locator("#gb-wanted")).to_contain_text("To start from alice/second:2")
    page.get_by_label("Add a machine").fill("training")
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator("#start-training").click()
    expect(page.get_by_label("Start from")).to_have_value("alice/second:2")
    page.locator(".gb-card").filter(has=page.get_by_text("CPU", exact=True)).click()
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url(re.compile(r"/user/alice/training/lab"))

    page.goto(f"{hub.url}/services/gpubox/templates")
    dialog = page.get_by_role("dialog")
    second.get_by_text("2 versions").click()
    second.get_by_role("button", name="Delete alice/second:2…").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_contain_text("alice/second:2 is in use: alice/training")
    page.keyboard.press("Escape")
    second.get_by_role("button", name="Actions for second").click()
    page.get_by_role("menuitem", name="Rename…").click()
    dialog.get_by_label("Name").fill("third")
    dialog.get_by_role("button", name="Rename").click()
    third = card(page, "alice/third")
    hub.stop("alice", "training")
    third.get_by_role("button", name="Actions for third").click()
    page.get_by_role("menuitem", name="Delete…").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(third).to_have_count(0)
    page.goto(f"{hub.url}/hub/spawn/alice/training#template=alice/third")
    expect(page.locator("#gb-template-missing")).to_contain_text("There is no template alice/third")
