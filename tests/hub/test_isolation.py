"""What keeps two users' boxes apart, tried from inside."""

import pytest
import requests

from simgpu import SimulatedDriver


@pytest.fixture(scope="module")
def hub(make_module_hub):
    with SimulatedDriver("2xH100") as driver:
        hub = make_module_hub(environment=driver.environment(), service=True).start()
        hub.run("alice", "h100")
        hub.run("bob", "h100")
        yield hub


def inside(hub, user, script):
    """Run a Python script in the user's box and return what it printed."""
    code, output = hub.container(user).exec_run(["python3", "-c", script])
    assert code == 0, output.decode()
    return output.decode().strip()


CONNECT = """
import socket
s = socket.socket(); s.settimeout(3)
try:
    s.connect(({host!r}, {port}))
    print("connected")
except OSError as error:
    print("refused")
"""

CALL_HUB = """
import os, urllib.request, urllib.error
request = urllib.request.Request(
    os.environ["JUPYTERHUB_API_URL"] + {path!r}, method={method!r},
    headers={{"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]}})
try:
    print(urllib.request.urlopen(request, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


CALL_SERVICE = """
import os, urllib.request, urllib.error
request = urllib.request.Request(
    "http://{host}:{port}/services/gpubox/api/{path}", method={method!r}, data={data!r},
    headers={{"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]}})
try:
    print(urllib.request.urlopen(request, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def address(hub, user):
    (network,) = hub.container(user).attrs["NetworkSettings"]["Networks"].values()
    return network["IPAddress"]


def test_one_box_cannot_reach_another_over_the_network(hub):
    own = CONNECT.format(host=address(hub, "alice"), port=8888)
    assert inside(hub, "alice", own) == "connected"
    assert inside(hub, "bob", own) == "refused"


def test_a_box_reaches_the_hub_and_nothing_else_of_it(hub):
    assert inside(hub, "bob", CALL_HUB.format(path="/user", method="GET")) == "200"
    gateway = next(iter(hub.container("bob").attrs["NetworkSettings"]["Networks"].values()))["Gateway"]
    for port in (hub.port, hub.proxy_port):
        assert inside(hub, "bob", CONNECT.format(host=gateway, port=port)) == "refused"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users/alice"),
        ("DELETE", "/users/alice/server"),
        ("POST", "/users/alice/server"),
        ("GET", "/users/alice/tokens"),
        ("POST", "/users/alice/tokens"),
        ("GET", "/users"),
        ("GET", "/proxy"),
        ("POST", "/shutdown"),
    ],
)
def test_one_users_token_opens_nothing_of_anothers(hub, method, path):
    assert inside(hub, "bob", CALL_HUB.format(path=path, method=method)) in ("403", "404")
    assert hub.is_ready("alice")


def test_one_users_token_does_not_open_anothers_server(hub):
    token = inside(hub, "bob", "import os; print(os.environ['JUPYTERHUB_API_TOKEN'])")
    headers = {"Authorization": f"token {token}"}
    own = requests.get(f"{hub.url}/user/bob/api/contents", headers=headers, timeout=10)
    others = requests.get(f"{hub.url}/user/alice/api/contents", headers=headers, timeout=10)
    assert (own.status_code, others.status_code) == (200, 403)


def ask_service(hub, user, method, path, data=None):
    """What the service answers a box that asks with its own token."""
    gateway = next(iter(hub.container(user).attrs["NetworkSettings"]["Networks"].values()))["Gateway"]
    call = CALL_SERVICE.format(host=gateway, port=hub.service_port, path=path, method=method, data=data)
    return inside(hub, user, call)


def test_a_box_may_ask_the_service_as_its_user_and_no_more(hub):
    assert ask_service(hub, "bob", "GET", "state") == "200"
    leases = {lease["user"]: lease for lease in hub.open_leases()}
    for action in ("end", "extend", "move"):
        assert ask_service(hub, "bob", "POST", f"leases/{leases['alice']['id']}/{action}", b"{}") == "403"
    (uuid,) = leases["alice"]["gpus"]
    assert ask_service(hub, "bob", "POST", f"gpus/{uuid}/drain", b"{}") == "403"
    assert ask_service(hub, "bob", "GET", "../metrics") in ("403", "404")
    assert hub.is_ready("alice")


def test_one_users_files_are_not_in_anothers_box(hub):
    inside(hub, "alice", "open('/home/jovyan/secret', 'w').write('alice')")
    found = inside(
        hub,
        "bob",
        "from glob import glob; print(glob('/home/*/secret') + glob('/var/lib/docker/*') + glob('/mnt/*'))",
    )
    assert found == "[]"


def test_there_is_no_engine_socket_in_a_box(hub):
    script = "from glob import glob; print(glob('/run/docker*') + glob('/var/run/docker*'))"
    assert inside(hub, "bob", script) == "[]"


def test_the_other_users_gpu_cannot_be_had_by_making_its_node(hub):
    made = hub.container("bob").exec_run(
        ["sh", "-c", "mknod /tmp/nvidia9 c 195 0 && cat /tmp/nvidia9"], user="root"
    )
    assert made.exit_code != 0
    count = "import pynvml; pynvml.nvmlInit(); print(pynvml.nvmlDeviceGetCount())"
    assert inside(hub, "bob", count) == "1"


def test_a_user_cannot_become_root_in_a_box(hub):
    status = inside(hub, "bob", "print(open('/proc/self/status').read())")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["Uid"].split()[0] != "0"


def test_processes_of_another_box_cannot_be_seen(hub):
    names = inside(hub, "bob", "import glob; print([open(p).read() for p in glob.glob('/proc/[0-9]*/comm')])")
    assert "dockerd" not in names and "jupyterhub" not in names
