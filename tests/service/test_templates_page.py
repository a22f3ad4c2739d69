"""The Templates page in a real browser, over templates made up: what it shows, asks of the hub, and says."""

import pytest
from playwright.sync_api import expect

from fixtures.waiting import until
from gpubox.control.client import HubRefused
from service.labs import HOSTILE, NOW, busy_lab, shelf, template, version
from service.stage import CONTRAST, PHONE, fits

PATH = "templates"
SECRETS = ["/opt/lab/.aws/credentials", "/opt/lab/deploy.pem"]
NOTHING = {"templates": [], "saves": [], "used_bytes": 0, "limit_bytes": None}
BEGUN = {
    "id": "a1b2",
    "owner": "alice",
    "server": "training",
    "name": "torch-lab",
    "state": "running",
    "words": "Keeping what was changed",
    "size_bytes": 7_100_000_000,
    "version": None,
    "began_at": NOW - 12,
    "ended_at": None,
    "secrets": [],
}


@pytest.fixture
def shelves(stage):
    """What the hub tells of templates, to each as it would."""
    stage.hub.answers["templates/overview"] = lambda actor: shelf(actor["name"])
    lab = busy_lab()
    stage.show(lab.state, lab.figures)
    return stage


def card(page, reference):
    return page.locator(f"[data-template={reference!r}]")


def asked(stage, what):
    """The fields of the wishes of that kind, less who asked."""
    found = (fields for one, fields in stage.hub.asked if one == f"templates/{what}")
    return [{key: value for key, value in fields.items() if key != "actor"} for fields in found]


def refusing(sentence):
    def refuse(**fields):
        raise HubRefused(sentence, 409)

    return refuse


def test_ones_own_and_those_shared_with_one_are_told_apart(shelves, look):
    page = look("alice", path=PATH)
    expect(page.get_by_role("link", name="Templates")).to_have_attribute("aria-current", "page")
    mine, shared = (
        page.get_by_role("region", name="Yours"),
        page.get_by_role("region", name="Shared with you"),
    )
    expect(mine.get_by_role("heading", level=3)).to_have_text(["torch-lab", "jax-2026"])
    expect(shared.get_by_role("heading", level=3)).to_have_text(
        ["rstudioby ben", "own-kernelby ben", "mmdetby chloé"]
    )
    disk = "Virtual machine, 9.2 GB, made from gpubox-vm-20261101090000 · saved"
    expect(card(page, "ben/own-kernel")).to_contain_text(disk)
    lab = card(page, "alice/torch-lab")
    expect(lab).to_contain_text("PyTorch nightly, apex")
    expect(lab).to_contain_text("Version 3 · adds 6.8 GB to gpubox/cuda:latest · saved Sun 18:04 on 1x H100")
    expect(lab.get_by_role("listitem")).to_contain_text(
        ["/opt/lab/.aws/credentials", "deploy.pem", "ben", "group vision"]
    )
    expect(page.get_by_role("meter")).to_have_attribute(
        "aria-valuetext", "Yours take 19.2 GB of 25.0 GB, 77 %"
    )
    # What others have made is theirs to change, and whom else they share it with theirs to know.
    rstudio = card(page, "ben/rstudio")
    for name in ("Actions for rstudio", "Share rstudio…"):
        expect(rstudio.get_by_role("button", name=name)).to_be_hidden()
    expect(page.get_by_role("region", name="Space by user")).to_be_hidden()


def test_a_start_leads_to_the_form_or_where_a_machine_runs_to_all_of_them(shelves, look):
    start = look("zoe", path=PATH).get_by_role("link", name="Start a machine from chloé/mmdet", exact=True)
    expect(start).to_have_attribute("href", "/hub/spawn#template=chlo%C3%A9%2Fmmdet%3A2")
    page = look("alice", path=PATH)
    start = page.get_by_role("link", name="Start a machine from alice/torch-lab", exact=True)
    expect(start).to_have_attribute("href", "/hub/home#template=alice%2Ftorch-lab%3A3")
    card(page, "alice/torch-lab").get_by_text("3 versions").click()
    older = page.get_by_role("link", name="Start a machine from alice/torch-lab:1")
    expect(older).to_have_attribute("href", "/hub/home#template=alice%2Ftorch-lab%3A1")


def test_what_looks_like_a_secret_is_named_before_it_is_shared(shelves, look):
    shelves.hub.answers["templates/share"] = refusing("These look like secrets: /opt/lab/deploy.pem.")
    page = look("alice", path=PATH)
    page.get_by_role("button", name="Share torch-lab…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("listitem")).to_have_text(SECRETS)
    dialog.get_by_label("Their name at this hub").fill(" ben ")
    dialog.get_by_role("button", name="Share").click()
    expect(dialog.get_by_role("alert")).to_have_text("These look like secrets: /opt/lab/deploy.pem.")
    del shelves.hub.answers["templates/share"]
    dialog.get_by_label("They are none").check()
    dialog.get_by_role("button", name="Share").click()
    expect(dialog).to_be_hidden()
    told = {"template": "alice/torch-lab", "kind": "user", "name": "ben"}
    assert asked(shelves, "share") == [told | {"accept": False}, told | {"accept": True}]
    page.get_by_role("button", name="These are none…").click()
    expect(dialog).to_contain_text("It is shared with ben, the group vision: they see it at once.")
    expect(dialog.get_by_role("button", name="Back")).to_be_focused()
    dialog.get_by_role("button", name="They are none").click()
    expect(dialog).to_be_hidden()
    assert asked(shelves, "clear") == [{"template": "alice/torch-lab"}]


def test_it_is_shared_with_a_group_and_with_everyone_and_with_somebody_no_more(shelves, look):
    page = look("alice", path=PATH)
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Share jax-2026…").click()
    expect(dialog.get_by_label("With")).to_be_focused()
    dialog.get_by_label("With").select_option("A group")
    expect(dialog.locator("datalist option")).to_have_count(2)
    dialog.get_by_label("The group\u2019s name").fill("students")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Share jax-2026…").click()
    dialog.get_by_label("With").select_option("Everyone on this hub")
    expect(dialog.get_by_label("name")).to_be_hidden()
    dialog.get_by_role("button", name="Share").click()
    expect(dialog).to_be_hidden()
    assert [(one["kind"], one["name"]) for one in asked(shelves, "share")] == [
        ("group", "students"),
        ("everyone", ""),
    ]

    shelves.hub.may_answer.clear()
    away = page.get_by_role("button", name="Share with ben no more")
    away.click()
    expect(away).to_be_disabled()
    away.dispatch_event("click")  # a second one does nothing
    shelves.hub.may_answer.set()
    expect(away).to_be_enabled()
    assert asked(shelves, "unshare") == [{"template": "alice/torch-lab", "kind": "user", "name": "ben"}]


def test_one_is_renamed_and_one_in_use_is_not_deleted(shelves, look):
    in_use = "alice/torch-lab:1 is in use: ben. Delete it when that has been stopped."
    shelves.hub.answers["templates/remove"] = refusing(in_use)
    page = look("alice", path=PATH)
    dialog = page.get_by_role("dialog")
    lab = card(page, "alice/torch-lab")
    lab.get_by_role("button", name="Actions for torch-lab").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    dialog.get_by_label("Name").fill("torch")
    dialog.get_by_label("Note").fill("New words")
    dialog.get_by_role("button", name="Rename").click()
    expect(dialog).to_be_hidden()
    assert asked(shelves, "describe") == [
        {"template": "alice/torch-lab", "name": "torch", "note": "New words"}
    ]

    lab.get_by_text("3 versions").click()
    lab.get_by_role("button", name="Delete alice/torch-lab:1…").click()
    expect(dialog).to_contain_text("Version 1, 6.1 GB.")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_have_text(in_use)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    lab.get_by_role("button", name="Actions for torch-lab").click()
    page.get_by_role("menuitem", name="Delete…").click()
    expect(dialog).to_contain_text("3 versions, 19.2 GB.")
    dialog.get_by_role("button", name="Back").click()
    assert asked(shelves, "remove") == [{"template": "alice/torch-lab:1"}]


def test_what_changes_elsewhere_comes_by_itself_and_a_save_tells_how_far_it_is(shelves, look):
    shelves.hub.answers["templates/overview"] = lambda actor: NOTHING
    page, admin, other = look("alice", path=PATH), look("admin", path=PATH), look("zoe", path=PATH)
    expect(page.get_by_text("Install everything once")).to_be_visible()
    lab = busy_lab()
    lab.templates = {"revision": 2, "saves": [BEGUN]}
    shelves.show(lab.state)
    saves = page.get_by_role("list", name="Being saved")
    expect(saves).to_contain_text("training → torch-lab")
    expect(saves).to_contain_text("Keeping what was changed (7.1 GB)…")
    expect(admin.get_by_role("list", name="Being saved")).to_contain_text("alice\u2019s training → torch-lab")
    saves.get_by_role("button", name="Cancel saving torch-lab").click()
    until(lambda: asked(shelves, "cancel") == [{"save": "a1b2"}], "it is cancelled")

    shelves.hub.answers["templates/overview"] = lambda actor: shelf(actor["name"])
    failed = BEGUN | {"id": "c3", "state": "failed", "words": "The disk is full.", "ended_at": NOW}
    lab.templates = {"revision": 3, "saves": [failed]}
    shelves.show(lab.state)
    expect(saves).to_contain_text("The disk is full.")
    expect(saves.get_by_role("button")).to_have_count(0)
    expect(page.get_by_role("heading", level=3)).to_have_count(5)
    expect(page.get_by_text("Install everything once")).to_be_hidden()
    expect(other.get_by_role("list", name="Being saved")).to_be_empty()


def test_an_admin_sees_all_of_them_and_the_room_that_each_user_takes(shelves, look):
    page = look("admin", path=PATH)
    others = page.get_by_role("region", name="Of others")
    expect(others.get_by_role("heading", level=3)).to_have_text(["torch-labby alice", "jax-2026by alice"])
    expect(others.get_by_role("link", name="Start")).to_have_count(0)
    expect(others.get_by_role("button", name="Actions for torch-lab")).to_be_visible()
    space = page.get_by_role("region", name="Space by user")
    expect(space).to_contain_text("5 templates of 3 users take 36.4 GB")
    expect(space.locator("tbody tr").first).to_have_text("alice2419.2 GB")


def test_names_notes_and_paths_are_text_whatever_they_are_and_fit_a_phone(shelves, look):
    odd = version(1, secrets=[f"/opt/{HOSTILE}"], cleared=False, base=HOSTILE, machine=HOSTILE)
    share = {"kind": "group", "name": HOSTILE}
    more = {"versions": [odd, odd | {"number": 2}], "shares": [share], "note": HOSTILE}
    hostile = NOTHING | {
        "templates": [
            template("alice", HOSTILE, "alice", **more),
            template(HOSTILE, "x", "alice", note=HOSTILE),
        ]
    }
    shelves.hub.answers["templates/overview"] = lambda actor: hostile
    lab = busy_lab()
    lab.templates["saves"] = [BEGUN | {"name": HOSTILE, "words": HOSTILE, "server": HOSTILE}]
    shelves.show(lab.state)
    page = look("alice", path=PATH, viewport=PHONE, color_scheme="dark")
    expect(page.get_by_role("heading", level=3).first).to_have_text(HOSTILE)
    page.get_by_text("2 versions").click()
    assert fits(page)
    page.get_by_role("button", name="Share <b").click()
    expect(page.get_by_role("dialog").get_by_role("listitem")).to_have_text([f"/opt/{HOSTILE}"])
    assert fits(page)
    assert page.locator("#hit").count() == 0


def test_many_are_searched(shelves, look):
    many = [template("alice", f"lab-{number:03}", "alice", note=f"note {number}") for number in range(300)]
    shelves.hub.answers["templates/overview"] = lambda actor: NOTHING | {"templates": many}
    page = look("alice", path=PATH)
    expect(page.locator("[data-template]")).to_have_count(300)
    page.get_by_label("Search templates").fill("NOTE 29 lab-2")
    expect(page.get_by_role("heading", level=3)).to_have_text(
        [f"lab-{number:03}" for number in (229, *range(290, 300))]
    )


def test_who_may_have_none_is_told_so(shelves, look):
    sentence = "You may not use templates here; ask the admin."
    shelves.hub.answers["templates/overview"] = refusing(sentence)
    expect(look("alice", path=PATH).get_by_role("alert")).to_have_text(sentence)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_light_and_dark(shelves, look, scheme):
    lab = busy_lab()
    failed = BEGUN | {"id": "c3", "state": "failed", "words": "The disk is full.", "ended_at": NOW}
    lab.templates["saves"] = [BEGUN, failed]
    shelves.show(lab.state)
    page = look("alice", path=PATH, color_scheme=scheme)
    page.get_by_text("3 versions").click()
    expect(page.locator(".gb-save")).to_have_count(2)
    assert page.evaluate("document.documentElement.dataset.bsTheme") == scheme
    parts = page.locator("#gb-templates :is(h1, h2, h3, p, li span, a, button, code, bdi, summary)")
    shown = [part for part in parts.all() if part.is_visible() and part.inner_text()]
    assert len(shown) > 50
    for element in shown:
        assert element.evaluate(CONTRAST) >= 4.5, element.evaluate("element => element.outerHTML")
