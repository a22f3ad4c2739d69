"""What happens on the host in tests/nested, with gpubox's own code; each scene says in a line what was seen.

``python3 scenes.py CARD CROWDED DIVIDED``: the card that goes into a machine, the one that has neighbours,
and a device with virtual functions.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import libvirt

from gpubox.engines import EngineError
from gpubox.engines.domain import DomainSpec, Names
from gpubox.engines.guests import Guests
from gpubox.engines.passthrough import Address, CannotPass, Device, plan
from gpubox.engines.vgpu import Part, addresses_in

URI = "qemu:///system"
POOL = Path("/var/lib/libvirt/gpubox")
PATIENCE_SECONDS = 60


def tell(scene: str, **seen: object) -> None:
    print(json.dumps({"scene": scene, "seconds": round(time.monotonic(), 1), **seen}), flush=True)


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def drivers(devices: tuple[Address, ...]) -> dict[str, str]:
    """Which driver has each device, as the kernel says."""
    links = {str(address): Path(f"/sys/bus/pci/devices/{address}/driver") for address in devices}
    return {name: link.resolve().name if link.exists() else "" for name, link in links.items()}


def refusal(devices: list[Device], card: Address) -> str:
    try:
        return f"given: {plan(devices, [card])}"
    except CannotPass as error:
        return str(error)


def prepare(guests: Guests) -> None:
    """A template with nothing on it, and a link to nowhere: tests/hub/test_vm has networks."""
    empty = Path("/tmp/empty.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", empty, "16M"], check=True)
    guests.add_template("empty-20260101000000", {"qcow2": empty}, "nothing", str)
    connection = libvirt.open(URI)
    connection.networkCreateXML(f"<network><name>{guests.network}</name><bridge name='gpubox-vm'/></network>")
    connection.nwfilterDefineXML(f"<filter name='{guests.filter}' chain='root'/>")
    connection.close()


def machine(guests: Guests, user: str, devices: tuple[Address, ...]) -> DomainSpec:
    """A machine as the spawner makes one; its disk is empty, so it stays in its firmware."""
    names = Names.of("nested", user, "")
    guests.ensure_disk(names, guests.template("empty"), 2**24)
    guests.ensure_home(names, 2**24)
    guests.write(names.environment, b"")
    guests.write(names.console, b"")
    return DomainSpec(
        names=names,
        hub_id="nested",
        user=user,
        server="",
        lease_id=1,
        machine="vm",
        cpus=1,
        memory_mib=128,
        address="10.213.64.2",
        pool=guests.pool,
        pool_path=guests.pool_path,
        network=guests.network,
        filter=guests.filter,
        virt_type="qemu",
        devices=devices,
    )


def give(guests: Guests, devices: list[Device], card: Address) -> None:
    """A card goes into a machine, is refused to a second one, and comes back."""
    given = plan(devices, [card])
    before = drivers(given)
    tell("before", drivers=before)
    prepare(guests)
    ada, bob = (machine(guests, user, given) for user in ("ada", "bob"))
    tell("prepared")
    guests.start(ada)
    tell("given", active=guests.is_active(ada.names.domain), drivers=drivers(given))
    try:
        guests.start(bob)
        tell("second", said="")
    except EngineError as error:
        tell("second", said=str(error), active=guests.is_active(ada.names.domain))
    guests.power_off(ada.names.domain)
    until(lambda: drivers(given) == before)
    tell("returned", active=guests.is_active(ada.names.domain), drivers=drivers(given))
    guests.start(bob)
    tell("again", active=guests.is_active(bob.names.domain), drivers=drivers(given))
    guests.power_off(bob.names.domain)


def give_functions(guests: Guests, card: Address) -> None:
    """The virtual function of a device goes into a machine; a second one finds none."""
    device = Path(f"/sys/bus/pci/devices/{card}")
    (device / "sriov_drivers_autoprobe").write_text("0")  # the host's driver has no use for them
    (device / "sriov_numvfs").write_text("1")
    until(lambda: any(parent.card == card for parent in guests._parents()))
    found: dict[str, str] = {}
    for user in ("cy", "di"):
        spec = machine(guests, user, ())
        try:
            guests.start(replace(spec, part=Part(card)))
            found[user] = " ".join(map(str, functions_of(spec)))
        except CannotPass as error:
            found[user] = str(error)
    tell("functions", card=str(card), found=found)


def functions_of(spec: DomainSpec) -> frozenset[Address]:
    connection = libvirt.open(URI)
    xml = connection.lookupByName(spec.names.domain).XMLDesc(0)
    connection.close()
    return addresses_in(xml)


def main(card: Address, crowded: Address, divided: Address) -> None:
    guests = Guests(
        URI,
        "nested",
        pool="gpubox",
        pool_path=str(POOL),
        network="gpubox-vm",
        subnet="10.213.64.0/24",
    )
    devices = guests.devices()
    tell("devices", names=[str(device) for device in devices])
    tell("crowded", said=refusal(devices, crowded))
    if any(device.group for device in devices):
        give(guests, devices, card)
        give_functions(guests, divided)
    else:
        tell("off", said=refusal(devices, card))


main(*map(Address.parse, sys.argv[1:]))
