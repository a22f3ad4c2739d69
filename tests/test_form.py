"""The options form as plain HTML from plain data."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from gpubox.engines import KeptMachine
from gpubox.form import Card, cards, price_words, render_options_form, template_choices
from gpubox.inventory import GPU
from gpubox.machines import parse_machine_types
from gpubox.outlook import Availability

CPU = Card("cpu", "CPU", has_gpu=False)
H100 = Card("h100", "1x H100", total=8, free=3, in_use=5, price_per_hour=2.5)


class Radios(HTMLParser):
    """The attributes of the radio buttons and options, and the text of the form."""

    def __init__(self, html):
        super().__init__()
        self.radios, self.options, self.tags, self.text = {}, [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        if tag == "input":
            self.radios[values["value"]] = values
        if tag == "option":
            self.options.append(values["value"])

    def handle_data(self, data):
        if data.strip():
            self.text.append(data.strip())

    @property
    def checked(self):
        return [name for name, values in self.radios.items() if "checked" in values]


def form(*cards, images=(), currency="$", selected=""):
    return Radios(render_options_form(cards, images=images, currency=currency, selected=selected))


def test_hostile_words_stay_words():
    hostile = "\"'><script>alert(1)</script>"
    card = Card(hostile, hostile, hostile, (hostile,), total=1, notice=hostile, disabled_reason="")

    shown = form(card, images=[hostile], currency=hostile)

    assert shown.tags.count("script") == 1  # the form's own
    assert list(shown.radios) == [hostile]
    assert shown.options == ["", hostile]
    assert shown.text.count(hostile) >= 5


def test_selected_machine_is_checked():
    assert form(CPU, H100, selected="h100").checked == ["h100"]


def test_first_free_machine_is_checked_where_the_selected_cannot_be_started():
    gone = replace(H100, disabled_reason="No such GPU here")
    full = Card("4xh100", "4x H100", total=2, in_use=2)

    assert form(full, gone, CPU, selected="h100").checked == ["cpu"]


def test_machine_in_use_is_checked_where_none_is_free():
    full = Card("4xh100", "4x H100", total=2, in_use=2)

    assert form(replace(H100, disabled_reason="No such GPU here"), full).checked == ["4xh100"]


def test_disabled_machine_shows_its_reason_and_cannot_be_chosen():
    shown = form(replace(H100, disabled_reason="For members of: vision-lab"), CPU)

    assert "disabled" in shown.radios["h100"]
    assert "disabled" not in shown.radios["cpu"]
    assert "For members of: vision-lab" in shown.text


def test_trouble_with_gpus_is_noted_only_where_the_machine_can_be_started():
    notice = "1 of 8 GPUs out of service. Xid 79"

    assert notice in form(replace(H100, notice=notice)).text
    assert notice not in form(replace(H100, notice=notice, disabled_reason="For members of: vision-lab")).text


def test_form_without_a_machine_to_start_says_so():
    shown = form(replace(H100, disabled_reason="No such GPU here"))

    assert shown.checked == []
    assert "There is no machine here that you may start. Ask the admin of this hub." in shown.text


def test_images_are_offered_only_where_there_is_a_choice():
    assert form(CPU).options == []
    assert form(CPU, images=["a", "b"]).options == ["", "a", "b"]


@pytest.mark.parametrize(
    ("figures", "state", "status"),
    [
        ({"free": 3, "in_use": 5, "total": 8}, "free", "3 of 8 free"),
        ({"free": 1, "in_use": 1, "total": 2, "waiting": 1}, "line", "1 of 2 free, 1 in line"),
        ({"in_use": 8, "total": 8, "waiting": 3}, "line", "All 8 in use, 3 in line"),
        ({"in_use": 2, "total": 2}, "line", "Both in use, nobody in line"),
        ({"in_use": 1, "total": 1}, "line", "In use, nobody in line"),
        ({"disabled_reason": "No such GPU here"}, "off", "No such GPU here"),
        ({"has_gpu": False, "in_use": 4}, "free", "Free"),
    ],
)
def test_figures_in_words(figures, state, status):
    card = Card("name", "title", **figures)

    assert (card.state, card.status) == (state, status)


@pytest.mark.parametrize(
    ("price", "currency", "words"),
    [
        (2.5, "$", "$2.50"),
        (2.5, "EUR", "EUR 2.50"),
        (1234, "€", "€1,234.00"),
        (0.004, "$", "$0.0040"),
        (0, "$", ""),
    ],
)
def test_price_in_words(price, currency, words):
    assert price_words(price, currency) == words


MACHINES = parse_machine_types(
    [
        {"title": "CPU", "cpus": 1, "memory": "512M"},
        {
            "title": "2x H100",
            "gpu": "H100",
            "count": 2,
            "cpus": 16,
            "memory": "128G",
            "disk": "2 TB NVMe",
            "time_limit": "90m",
            "groups": ["vision-lab", "big-models"],
        },
        {"title": "Quarter", "gpu": "A100", "sharing": "shared: 4"},
        {"title": "Slice", "gpu": "A100", "sharing": "mig: 1g.10gb"},
    ]
)
FREE = Availability(total=1, free=1, waiting=0, in_use=0)
GPUS = [
    GPU("GPU-1", "NVIDIA H100 80GB HBM3", 81559),
    GPU("GPU-2", "NVIDIA H100 80GB HBM3", 81559),
    GPU("GPU-3", "NVIDIA A100-SXM4-40GB", 40960),
    GPU("MIG-1", "NVIDIA A100-SXM4-80GB", 9728, mig_profile="1g.10gb"),
]


def cards_by_title(groups=(), **availability):
    figures = {machine.name: availability.get(machine.name.replace("-", "_"), FREE) for machine in MACHINES}
    return {card.title: card for card in cards(MACHINES, figures, groups, GPUS)}


def test_card_says_what_the_machine_has():
    shown = cards_by_title(["vision-lab"])

    assert shown["CPU"].spec_lines == ("No GPU", "1 CPU · 512 MB memory")
    assert shown["2x H100"].spec_lines == (
        "2 GPUs · 80 GB each",
        "16 CPUs · 128 GB memory",
        "2 TB NVMe",
        "Stops after 1 hour 30 minutes",
    )
    assert shown["Quarter"].spec_lines == ("1 GPU, shared by up to 4 · 40 GB",)
    assert shown["Slice"].spec_lines == ("1g.10gb slice · 10 GB",)


def test_machine_of_a_group_is_closed_to_others_and_open_to_a_member():
    assert cards_by_title()["2x H100"].disabled_reason == "For members of: big-models, vision-lab"
    assert cards_by_title(["vision-lab"])["2x H100"].disabled_reason == ""


def test_machine_that_cannot_run_here_is_closed_with_the_pools_reason():
    gone = Availability(total=0, free=0, waiting=0, in_use=0, problem="2 of 2 GPUs out of service. Xid 79")

    assert cards_by_title(quarter=gone)["Quarter"].disabled_reason == gone.problem


def test_machine_without_gpu_is_open_though_the_pool_counts_none():
    none = Availability(total=0, free=0, waiting=0, in_use=3)

    assert cards_by_title(cpu=none)["CPU"].disabled_reason == ""


def test_trouble_with_some_of_the_gpus_is_noted_and_closes_nothing():
    some = Availability(total=1, free=0, waiting=0, in_use=1, problem="1 of 2 GPUs out of service. Xid 79")

    card = cards_by_title(quarter=some)["Quarter"]

    assert (card.disabled_reason, card.notice) == ("", some.problem)


def test_what_is_in_the_image_is_said_once_where_it_is_the_same_everywhere():
    one, other = replace(CPU, contents="PyTorch 2.6"), replace(H100, contents="PyTorch 2.6")
    assert form(one, other).text.count("On every machine: PyTorch 2.6") == 1
    shown = form(one, replace(other, contents="PyTorch 2.15, CUDA 13.2")).text
    assert "PyTorch 2.6" in shown and "PyTorch 2.15, CUDA 13.2" in shown
    assert not any("On every machine" in words for words in shown)


KEPT = KeptMachine("0123456789abcdef01", "ada", "", "h100", "gpubox/cpu:latest", 1e9, 1e9, 3 * 10**9, True)


def test_a_machine_that_is_kept_goes_on_unless_this_very_one_is_given_up():
    found = Radios(render_options_form([CPU], images=(), currency="$", selected="", kept=[KEPT]))
    assert found.checked == ["", "cpu"]
    assert found.radios["0123456789abcdef"]["name"] == "fresh"
    words = " ".join(found.text)
    assert "3.0 GB changed" in words and "older image" in words and "Sep 2001" in words
    assert "Your home is not touched" in words
    sizeless = replace(KEPT, size_bytes=None, is_old=False)
    words = " ".join(
        Radios(render_options_form([CPU], images=(), currency="$", selected="", kept=[sizeless])).text
    )
    assert "changed ·" not in words and "older" not in words
    assert "As I left it" not in form(CPU).text


def test_of_a_container_and_a_virtual_machine_that_are_kept_each_can_be_given_up():
    machine = replace(KEPT, id="fedcba9876543210", engine="libvirt", size_bytes=10**9)
    html = render_options_form([CPU], images=(), currency="$", selected="", kept=[KEPT, machine])
    found = Radios(html)
    assert found.checked[0] == ""
    assert {"0123456789abcdef", "fedcba9876543210"} <= set(found.radios)
    assert "Virtual machine · Kept since" in " ".join(found.text)
    assert html.count('data-engine="libvirt"') == 2


def test_images_that_do_not_say_what_is_in_them_leave_no_trace():
    assert not any("On every machine" in words for words in form(CPU, H100).text)


def told(reference, *, mine, startable=(1, 2), note=""):
    owner, _, name = reference.partition("/")
    same = {"base": "gpubox/cpu:latest", "saved_at": 1795430000.0, "engine": ""}
    versions = [{"number": number, "size_bytes": 1.4e9 * number, **same} for number in (1, 2)]
    facts = {"owner": owner, "name": name, "note": note, "mine": mine, "startable": list(startable)}
    return {"reference": reference, "versions": versions, **facts}


def test_templates_tell_who_from_what_how_large_and_when_ones_own_first():
    choices = template_choices(
        [told("ada/<b>", mine=False, startable=[1], note="<i>"), told("ben/lab", mine=True)]
    )
    assert [choice.reference for choice in choices] == ["ben/lab:2", "ben/lab:1", "ada/<b>:1"]
    assert choices[0].words == "lab, version 2 · 2.8 GB more than gpubox/cpu:latest · saved 23 Nov 2026"
    assert choices[2].facts == "by ada · 1.4 GB more than gpubox/cpu:latest · saved 23 Nov 2026"
    one = told("ben/vm", mine=True, startable=[2])
    one["versions"][1]["engine"] = "libvirt"
    (choice,) = template_choices([one])
    assert choice.facts == "virtual machine, 2.8 GB, made from gpubox/cpu:latest · saved 23 Nov 2026"
    assert choice.engine == "libvirt"
    html = render_options_form(
        [CPU], images=[], currency="$", selected="", templates=choices, template="ben/lab:1"
    )
    form = Radios(html)
    assert form.options[:4] == ["", "ben/lab:2", "ben/lab:1", "ada/<b>:1"]
    assert "ada/<b>" not in html and "<i>" not in html
    assert 'value="ben/lab:1"' in html.partition(" selected")[0].rpartition("<option")[2]
