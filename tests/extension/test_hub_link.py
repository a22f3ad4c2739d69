"""A box and the hub's service: what a real Jupyter server hears, passes on and reports. The service is a
stand-in that speaks as the real one does; tests/hub tries both together."""

import json
import time

import pytest
import requests

from extension.service_stand_in import TOKEN
from fixtures.jupyter import next_frame
from fixtures.waiting import until
from jupyterlab_gpubox.hub_link import wakes

BOX = {"machine": "h100", "title": "1x H100", "started": 1.0, "ends": 5.0, "server": "big run"}
LEASE = {"id": 7, "ends_at": 2e9, "latest_end": None}
IDLE = {"id": 3, "kind": "idle", "sentence": "It idles.", "told_at": 1.0, "due_at": 2e9}
REPORTS = """
import jupyterlab_gpubox.hub_link
jupyterlab_gpubox.hub_link.REPORT_SECONDS = 0.3
"""


@pytest.fixture(scope="module")
def server(start_jupyter, service):
    box = {**BOX, "service": service.url}
    return start_jupyter(config=REPORTS, GPUBOX_BOX=json.dumps(box), JUPYTERHUB_API_TOKEN=TOKEN)


@pytest.fixture(autouse=True)
def a_lease(service, server):
    until(lambda: service.streams, "the box listens", server.log)
    service.say("lease", **LEASE)
    yield
    for _, notice in [one for one in service.open if one[0] == "notice"]:
        service.say("closed", id=notice["id"])
    service.heard.clear()
    service.answers.clear()


def test_a_page_is_told_of_a_notice_and_of_its_end(service, server):
    with_stream = server.stream()
    service.say("notice", **IDLE)
    assert next_frame(with_stream, "notice")["sentence"] == "It idles."
    service.say("closed", id=3)
    assert next_frame(with_stream, "closed")["id"] == 3
    with_stream.close()


def test_a_page_that_comes_later_is_told_what_is_open(service, server):
    first = server.stream()
    service.say("notice", **IDLE)
    next_frame(first, "notice")
    later = server.stream()
    assert next_frame(later, "lease")["id"] == 7
    assert next_frame(later, "notice")["id"] == 3
    first.close()
    later.close()


def test_the_box_tells_the_end_that_the_hub_knows_now(service, server):
    service.say("lease", **{**LEASE, "ends_at": 1.5e9})
    until(lambda: server.get("gpubox/api/box")["box"]["ends"] == 1.5e9, "the end is the new one", server.log)
    told = server.get("gpubox/api/box")["box"]
    assert told["has_service"]
    assert "service" not in told and "server" not in told


@pytest.mark.parametrize(
    ("path", "body", "passed_on"),
    [
        ("machine/extend", {"seconds": 3600}, "leases/7/extend"),
        ("machine/keep", {}, "leases/7/keep"),
        ("notices/3/close", {}, "notices/3/close"),
    ],
)
def test_a_wish_reaches_the_service_with_the_boxs_token(service, server, path, body, passed_on):
    assert server.ask(f"gpubox/api/{path}", "POST", json=body).status_code == 200
    assert service.of(passed_on) == [body]


def test_the_services_refusal_is_passed_on_in_its_words(service, server):
    service.answers["leases/7/extend"] = (409, {"message": "It may not run longer."})
    answer = server.ask("gpubox/api/machine/extend", "POST", json={"seconds": 60})
    assert (answer.status_code, answer.json()["message"]) == (409, "It may not run longer.")


def test_a_refused_token_does_not_log_the_page_out(service, server):
    service.answers["leases/7/keep"] = (403, {"message": "Not yours."})
    assert server.ask("gpubox/api/machine/keep", "POST", json={}).status_code == 409


@pytest.mark.parametrize("body", [{}, {"seconds": -1}, {"seconds": "1"}, {"seconds": True}, [1]])
def test_a_wish_that_is_none_goes_nowhere(service, server, body):
    assert server.ask("gpubox/api/machine/extend", "POST", json=body).status_code == 400
    assert not service.of("leases/7/extend")


@pytest.mark.parametrize("path", ["machine/keep", "machine/extend", "notices/3/close"])
def test_nobody_else_has_wishes(service, server, path):
    assert server.ask(f"gpubox/api/{path}", "POST", token="", json={"seconds": 1}).status_code == 403
    assert server.ask(f"gpubox/api/{path}", "GET").status_code == 405


def test_a_page_of_another_site_has_no_wishes(service, server):
    """A browser sends the log-in cookie with any site's form: it takes the page's own XSRF token, too."""
    page = requests.Session()
    page.get(server.url + "lab", params={"token": server.token})
    keep = server.url + "gpubox/api/machine/keep"
    assert page.post(keep, json={}).status_code == 403
    assert not service.of("leases/7/keep")
    xsrf = next(value for name, value in page.cookies.items() if "xsrf" in name)
    assert page.post(keep, json={}, headers={"X-XSRFToken": xsrf}).status_code == 200
    assert service.of("leases/7/keep") == [{}]


def test_who_may_only_look_has_no_wishes(start_jupyter, service, tmp_path):
    (tmp_path / "looking.py").write_text(
        "from jupyter_server.auth import Authorizer\n"
        "class Looking(Authorizer):\n"
        "    def is_authorized(self, handler, user, action, resource):\n"
        "        return resource != 'gpubox' or action == 'read'\n"
    )
    config = (
        f"import sys; sys.path.append({str(tmp_path)!r})\nc.ServerApp.authorizer_class = 'looking.Looking'\n"
    )
    box = json.dumps({**BOX, "service": service.url})
    server = start_jupyter(config=config, GPUBOX_BOX=box, JUPYTERHUB_API_TOKEN=TOKEN)
    assert server.ask("gpubox/api/box").status_code == 200
    for path in ("machine/keep", "machine/extend", "notices/3/close"):
        assert server.ask(f"gpubox/api/{path}", "POST", json={"seconds": 60}).status_code == 403
    assert not [path for path, _ in service.heard if path.startswith(("leases", "notices"))]


@pytest.mark.parametrize("told", [{}, {"id": None}, {"id": "3"}, {"id": [3]}])
def test_an_event_that_is_not_understood_ends_nothing(service, server, told):
    stream = server.stream()
    listened = len(service.of("box/events"))
    for kind in ("notice", "lease", "closed", "news"):
        service.send(kind, **told)
    service.say("notice", **IDLE)
    assert next_frame(stream, "notice")["id"] == 3
    assert next_frame(stream, "tick")
    assert len(service.of("box/events")) == listened
    stream.close()


def test_a_token_that_is_refused_is_said_once_and_not_tried_for_a_while(start_jupyter, service):
    asked = len(service.tokens)
    box = json.dumps({**BOX, "service": service.url})
    config = REPORTS + "jupyterlab_gpubox.hub_link.REFUSED_SECONDS = 3\n"
    server = start_jupyter(config=config, GPUBOX_BOX=box, JUPYTERHUB_API_TOKEN="another's")

    def tries():
        return sum(token == "token another's" for token in service.tokens[asked:])

    until(lambda: tries() >= 4, "it is asked again", server.log)
    assert server.log().count("refuses this machine's token") == 1
    assert server.log().count("is not heard") == 0
    assert server.get("gpubox/api/box")["box"]["ends"] == BOX["ends"]
    # One stream and one report at a time: without the pause there would be ten reports a stream.
    assert service.refused <= 2 * tries()


def test_a_service_that_comes_back_is_heard_again(service, server):
    service.stop()
    until(lambda: not service.streams, "it is gone")
    answer = server.ask("gpubox/api/machine/keep", "POST", json={})
    assert answer.status_code == 503
    assert "does not answer now" in answer.json()["message"]
    service.start()
    stream = server.stream()
    service.say("notice", **IDLE)
    assert next_frame(stream, "notice")["id"] == 3
    assert service.of("box/events")[-1] == {"server": "big run"}
    stream.close()


# --- signs of life ----------------------------------------------------------------------------------


def newest(service, kind):
    """What was last reported of a kind of life."""
    reports = service.of("box/activity")
    return reports[-1][kind] if reports else None


def reported(service, server, kind, since):
    until(lambda: (newest(service, kind) or 0) >= since, f"{kind} is reported", server.log)


def test_a_box_with_nothing_in_it_reports_no_life(service, server):
    until(lambda: len(service.of("box/activity")) > 1, "it reports", server.log)
    report = service.of("box/activity")[-1]
    assert report["server"] == "big run"
    assert report["desktop_at"] is None and report["gpu_at"] is None


def run(server, kernel, code):
    """Have a kernel run code, as a page that leaves at once."""
    channel = server.stream(f"api/kernels/{kernel}/channels")
    header = {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
    content = {"code": code, "silent": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    channel.send(json.dumps(message))
    while json.loads(channel.recv()).get("msg_type") != "execute_input":
        pass
    channel.close()


def test_a_busy_kernel_is_life_with_no_browser_and_an_idle_one_with_a_browser_is_none(service, server):
    kernel = server.ask("api/kernels", "POST", json={"name": "python3"}).json()["id"]
    run(server, kernel, "import time, pathlib\nwhile not pathlib.Path('stop').exists(): time.sleep(0.05)")
    reported(service, server, "kernel_at", time.time())
    (server.home / "stop").touch()
    until(lambda: server.get(f"api/kernels/{kernel}")["execution_state"] == "idle", "it has ended")
    watching = server.stream(f"api/kernels/{kernel}/channels")
    seen = len(service.of("box/activity"))
    ended = time.time()
    until(lambda: len(service.of("box/activity")) > seen + 3, "three more reports", server.log)
    assert newest(service, "kernel_at") <= ended
    watching.close()
    server.ask(f"api/kernels/{kernel}", "DELETE")


def test_a_page_that_polls_its_kernels_is_no_life(service, server):
    kernel = server.ask("api/kernels", "POST", json={"name": "python3"}).json()["id"]
    channel = server.stream(f"api/kernels/{kernel}/channels")
    until(lambda: server.get(f"api/kernels/{kernel}")["execution_state"] == "idle", "it idles")
    before = server.get(f"api/kernels/{kernel}")["last_activity"]
    for request in ("usage_request", "kernel_info_request", "comm_info_request"):
        header = {"msg_id": request, "msg_type": request, "username": "", "session": "s", "version": "5.3"}
        asked = {"header": header, "parent_header": {}, "metadata": {}, "content": {}}
        channel.send(json.dumps({**asked, "channel": "control" if request == "usage_request" else "shell"}))
        is_done = False
        while not is_done:
            told = json.loads(channel.recv())
            is_done = told["msg_type"] == "status" and told["parent_header"].get("msg_id") == request
            is_done = is_done and told["content"]["execution_state"] == "idle"
    channel.close()
    assert server.get(f"api/kernels/{kernel}")["last_activity"] == before
    again = server.stream(f"api/kernels/{kernel}/channels")
    seen = len(service.of("box/activity"))
    until(lambda: len(service.of("box/activity")) > seen + 3, "three more reports", server.log)
    again.close()
    assert server.get(f"api/kernels/{kernel}")["last_activity"] == before
    server.ask(f"api/kernels/{kernel}", "DELETE")


def test_work_that_begins_after_a_silence_is_reported_at_once(start_jupyter, service):
    config = REPORTS.replace("0.3", "3600") + "jupyterlab_gpubox.hub_link.LOOK_SECONDS = 0.2\n"
    box = json.dumps({**BOX, "server": "sleeper", "service": service.url})
    server = start_jupyter(config=config, GPUBOX_BOX=box, JUPYTERHUB_API_TOKEN=TOKEN)

    def reports():
        return [one for one in service.of("box/activity") if one["server"] == "sleeper"]

    until(reports, "the first report", server.log)
    begun = time.time()
    server.ask("api/kernels", "POST", json={"name": "python3"})
    until(lambda: len(reports()) == 2, "a second one, long before its time", server.log)
    assert reports()[1]["kernel_at"] >= begun - 1
    assert reports()[0]["kernel_at"] is None


@pytest.mark.parametrize(
    ("before", "now", "told_at", "is_awake"),
    [
        (None, 1000, 900, True),  # the first life of all
        (100, 1000, 900, True),  # after a silence
        (880, 930, 900, False),  # it was told to be at work
        (100, 100, 900, False),  # nothing new
        (None, None, 900, False),
    ],
)
def test_when_it_is_told_before_its_time_that_work_has_begun(before, now, told_at, is_awake):
    kinds = ({"kernel_at": at, "gpu_at": None} for at in (before, now))
    assert wakes(*kinds, told_at) is is_awake


def test_a_terminal_that_prints_is_life_and_one_at_its_prompt_is_none(service, server):
    terminal = server.ask("api/terminals", "POST").json()["name"]
    channel = server.stream(f"terminals/websocket/{terminal}")
    channel.send(json.dumps(["stdin", "while [ ! -e quiet ]; do echo; sleep 0.1; done\r"]))
    channel.close()
    reported(service, server, "terminal_at", time.time() + 0.5)  # with nobody connected
    (server.home / "quiet").touch()

    def is_quiet():
        seen = len(service.of("box/activity"))
        before = newest(service, "terminal_at")
        until(lambda: len(service.of("box/activity")) > seen + 3, "three more reports", server.log)
        return newest(service, "terminal_at") == before

    until(is_quiet, "nothing is reported of a prompt", server.log)
    server.ask(f"api/terminals/{terminal}", "DELETE")


def test_without_a_hub_there_is_no_link(start_jupyter):
    alone = start_jupyter()
    answer = alone.ask("gpubox/api/machine/keep", "POST", json={})
    assert answer.status_code == 404
    assert "no machine of a hub" in answer.json()["message"]


def test_a_page_is_told_of_ones_own_templates_by_name_alone(service, server):
    version = {"number": 4, "secrets": ["/opt/key.pem"], "base": "b", "size_bytes": 1}
    mine = {"name": "lab", "note": "what for", "mine": True, "versions": [version], "shares": ["ben"]}
    told = {"templates": [mine, mine | {"mine": False, "name": "bens"}], "saves": [{"id": "x"}]}
    service.answers["templates"] = (200, told | {"used_bytes": 5, "limit_bytes": None})
    assert server.get("gpubox/api/templates") == {
        "templates": [{"name": "lab", "note": "what for", "version": 4}],
        "used_bytes": 5,
        "limit_bytes": None,
    }
    service.answers["templates"] = (403, {"message": "You may not use templates here; ask the admin."})
    refused = server.ask("gpubox/api/templates")
    assert refused.status_code == 409 and "ask the admin" in refused.json()["message"]


def test_a_save_is_passed_on_for_this_machine_alone_and_told_to_pages(service, server):
    stream = server.stream()
    assert next_frame(stream, "saves")["saves"] == []
    service.answers["templates/save"] = (200, {"id": "a1"})
    asked = server.ask("gpubox/api/templates/save", "POST", json={"name": "lab", "server": "others"})
    assert asked.json() == {"id": "a1"}
    assert service.of("templates/save") == [{"server": "big run", "name": "lab", "note": ""}]
    service.save({"id": "a1", "state": "running"})
    assert next_frame(stream, "saves", lambda frame: frame["saves"])["saves"][0]["state"] == "running"
    assert server.ask("gpubox/api/templates/cancel", "POST", json={"save": "a1"}).status_code == 200
    assert service.of("templates/cancel") == [{"save": "a1"}]
    for path, body in (("save", {"name": 1}), ("save", {}), ("save", []), ("cancel", {})):
        assert server.ask(f"gpubox/api/templates/{path}", "POST", json=body).status_code == 400
    service.save()
    stream.close()
