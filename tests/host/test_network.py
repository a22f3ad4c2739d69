"""The containers' network, on the real engine."""

import secrets

import pytest

from gpubox.host import HostProblem
from gpubox.host.network import ensure_network, gateway


@pytest.fixture
def name(docker_client):
    name = f"test-{secrets.token_hex(4)}"
    yield name
    for network in docker_client.networks.list(names=[name]):
        network.remove()


def test_containers_on_the_network_may_not_talk_to_each_other(docker_client, name):
    ensure_network(docker_client, name)
    options = docker_client.networks.get(name).attrs["Options"]
    assert options["com.docker.network.bridge.enable_icc"] == "false"


def test_the_gateway_is_the_hosts_own_address(docker_client, name):
    address = ensure_network(docker_client, name)
    network = docker_client.networks.get(name)
    assert address == network.attrs["IPAM"]["Config"][0]["Gateway"].partition("/")[0]


def test_a_second_call_finds_the_same_network(docker_client, name):
    first = ensure_network(docker_client, name)
    assert ensure_network(docker_client, name) == first
    assert len(docker_client.networks.list(names=[name])) == 1


def test_a_network_on_which_containers_can_talk_is_refused_and_left_alone(docker_client, name):
    docker_client.networks.create(name, driver="bridge")
    with pytest.raises(HostProblem, match=f"{name}.*lets containers talk.*docker network rm {name}"):
        ensure_network(docker_client, name)
    assert docker_client.networks.get(name).attrs["Options"] == {}


def test_an_ipv6_gateway_is_passed_over_for_the_ipv4_one():
    network = {"IPAM": {"Config": [{"Gateway": "fd00::1"}, {"Gateway": "10.1.2.1/24"}]}}
    assert gateway(network) == "10.1.2.1"
