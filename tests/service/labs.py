"""Labs made up: the hub's state, the GPUs' figures and a day's history, as the service's API tells them."""

from __future__ import annotations

import random
import time
from copy import deepcopy
from typing import Any

State = dict[str, Any]
H100, A100, L40S = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA L40S"
MEMORY = {H100: 81559, A100: 81920, L40S: 46068}
HOUR = 3600.0
# A Monday, 18:04 on this machine's clock: browsers on the stage are told the same.
NOW = time.mktime((2026, 11, 23, 18, 4, 0, 0, 0, -1))
HOSTILE = '<b id="hit">"Robert"</b> & \'/\\ ' + "w" * 220


class Lab:
    """A state in the making: add GPUs, leases and tickets, and take `state`."""

    def __init__(self) -> None:
        self.now = NOW
        self.gpus: list[State] = []
        self.leases: list[State] = []
        self.line: list[State] = []
        self.figures: dict[str, State] = {}
        self.templates: State = {"revision": 1, "saves": []}

    def gpu(
        self, index: int, model: str = H100, *, slots: int = 1, state: str = "", reason: str = "", **more: Any
    ) -> str:
        """A GPU; returns its UUID."""
        uuid = f"{'MIG' if more.get('parent') else 'GPU'}-{len(self.gpus):08x}"
        self.gpus.append(
            {
                "uuid": uuid,
                "index": index,
                "model": model,
                "memory_mib": MEMORY[model],
                "mig_profile": None,
                "parent": None,
                "state": state or "ready",
                "reason": reason,
                "slots": slots,
                "holders": [],
            }
            | more
        )
        return uuid

    def held(
        self, user: str, *uuids: str, hours: float = 1, slots: tuple[int, ...] = (0,), **more: Any
    ) -> int:
        """Somebody holds these GPUs since so many hours ago; returns the lease's number."""
        lease = self._lease(user, hours, gpus=list(uuids), **more)
        lease["granted_at"] = lease["requested_at"] + 5
        for gpu in self.gpus:
            if gpu["uuid"] in uuids:
                gpu["holders"].append({"lease": lease["id"], "slots": list(slots)})
                if gpu["state"] == "ready":
                    gpu["state"] = "leased"
        return int(lease["id"])

    def waits(self, user: str, *, hours: float = 0.5, expected: float | None = None, **more: Any) -> int:
        """Somebody stands in line, served in ``expected`` hours."""
        place = {key: more.pop(key) for key in ("basis", "blocked") if key in more}
        lease = self._lease(user, hours, **more)
        self.line.append(
            {
                "lease": lease["id"],
                "position": len(self.line) + 1,
                "waiting": 0,
                "expected_at": expected and self.now + expected * HOUR,
                "basis": "past machines" if expected else "",
                "blocked": "",
            }
            | place
        )
        return int(lease["id"])

    def _lease(self, user: str, hours: float, **more: Any) -> State:
        lease: State = {
            "id": len(self.leases) + 1,
            "user": user,
            "server": "",
            "machine": "h100",
            "title": "1x H100",
            "groups": [],
            "gpus": [],
            "share": 1.0,
            "price_per_hour": 2.5,
            "requested_at": self.now - hours * HOUR,
            "granted_at": None,
            "ends_at": None,
            "ends_because": None,
            "latest_end": None,
            "rank": 0,
            "is_ready": True,
        } | more
        self.leases.append(lease)
        return lease

    def figure(
        self, uuid: str, busy: float | None, memory_gb: float = 0, celsius: float = 35, watts: float = 80
    ) -> None:
        """What a GPU does now."""
        self.figures[uuid] = {
            "utilisation_percent": busy,
            "memory_used_mib": memory_gb * 1024,
            "temperature_c": celsius,
            "power_watts": watts,
        }

    @property
    def state(self) -> State:
        """What the hub would tell."""
        for place in self.line:
            place["waiting"] = len(self.line)
        machine = {"name": "h100", "title": "1x H100", "problem": "", "total": len(self.gpus), "free": 0}
        told: State = {
            "hub": "lab",
            "currency": "$",
            "gpus": self.gpus,
            "leases": self.leases,
            "line": self.line,
            "machines": [machine],
            "templates": self.templates,
        }
        return deepcopy(told)  # what was told is not changed by what comes next


def busy_lab() -> Lab:
    """Eight cards, all kinds: whole, shared, in slices, drained, lost, idle; alice is the viewer."""
    lab = Lab()
    whole = [lab.gpu(index) for index in range(4)]
    slices = [lab.gpu(4, A100, parent="GPU-card4", mig_profile="1g.10gb", memory_mib=9728) for _ in range(3)]
    slices += [lab.gpu(4, A100, parent="GPU-card4", mig_profile="3g.40gb", memory_mib=40448)]
    shared = lab.gpu(5, L40S, slots=4)
    drained = lab.gpu(6, L40S, state="drained", reason="A fan is loud; the technician comes on Tuesday.")
    lost = lab.gpu(
        7, L40S, state="lost", reason="Xid 79: the GPU has fallen off the bus. Restart the machine."
    )
    lab.held("alice", whole[0], hours=2.3, ends_at=lab.now + 3.5 * HOUR)
    lab.held("ben", whole[1], whole[2], hours=6.2, title="2x H100", share=2.0, server="training")
    lab.held("chloé", slices[0], hours=1.1, title="1/7 of an A100", share=1 / 7)
    lab.held("dmitri", slices[3], hours=3.4, title="3/7 of an A100", share=3 / 7)
    lab.held("emil", shared, hours=0.4, slots=(0,), title="1/4 of an L40S", share=0.25)
    lab.held("fatima", shared, hours=4.4, slots=(1,), title="1/4 of an L40S", share=0.25)
    lab.waits("gus", title="4x H100", hours=1.4, blocked="1 of the GPUs that it takes is out of service.")
    lab.waits("alice", title="2x H100", hours=0.4, expected=1.2, server="second")
    lab.waits("hana", hours=0.2, expected=2.6, basis="time limits")
    lab.figure(whole[0], 93, 61, 64, 641)
    lab.figure(whole[1], 88, 74, 66, 655)
    lab.figure(whole[2], 0, 31, 41, 121)
    lab.figure(whole[3], 0, 0, 31, 70)
    lab.figure(shared, 47, 22, 55, 190)
    lab.figure(drained, 0, 0, 30, 33)
    lab.figures[lost] = {}
    return lab


def large_lab(gpus: int = 100, tickets: int = 1000) -> Lab:
    """A rack of racks, nearly all held, and a long line."""
    lab, chance = Lab(), random.Random(7)
    people = ["ada", "ben", "chloé", "dmitri", "emil", "fatima", "gus", "hana", "ivo", "jun", "alice", "kim"]
    for index in range(gpus):
        model = (H100, A100, L40S)[index * 3 // gpus]
        uuid = lab.gpu(index, model)
        lab.figure(uuid, 0, 0, 30)
        if index % 33 == 32:
            lab.gpus[-1] |= {"state": "drained", "reason": "Its fan is loud."}
        elif index % 9 != 8:
            user = people[min(index % 13, 11)] + ("" if index % 5 else f".{index}")
            lab.held(user, uuid, hours=chance.uniform(0.1, 40))
            lab.figure(uuid, chance.choice((0, 30, 70, 88, 95, 99)), chance.uniform(5, 70), 60)
    for number in range(tickets):
        lab.waits(f"waiting{number}", hours=4 - number / 300, expected=0.3 + number / 40)
    return lab


def day_of(lab: Lab, viewer: str, *, seed: int = 3) -> State:
    """A day's history that ends with who holds what now."""
    chance = random.Random(seed)
    local = time.localtime(lab.now)
    begin = time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 0, 0, 0, 0, 0, -1))
    leases = {lease["id"]: lease for lease in lab.leases}
    told = []
    for gpu in lab.gpus:
        spans, use = [], []
        now_held = [leases[holder["lease"]] for holder in gpu["holders"]]
        first = min(
            (lease["granted_at"] for lease in now_held), default=lab.now - chance.uniform(0, 5) * HOUR
        )
        at, number = begin - chance.uniform(0, 2) * HOUR, 10_000 + 100 * len(told)
        while at < first - HOUR and gpu["state"] != "lost":
            end = min(first, at + chance.uniform(1, 6) * HOUR)
            who = chance.choice(("ada", "ben", "chloé", "hana", "jun", "alice"))
            spans.append((number, who, "1x H100", at, end))
            at, number = end + chance.choice((0, 0, 0.2, 1.5)) * HOUR, number + 1
        for lease in now_held:
            spans.append((lease["id"], lease["user"], lease["title"], lease["granted_at"], lab.now))
        for lease, _, _, start, end in spans:
            level, mood = chance.uniform(0.5, 0.95), 1.0
            quarter = begin + max(0, (start - begin) // 900) * 900
            while quarter < end:
                mood = chance.choice((0.0, 1.0)) if chance.random() < 0.12 else mood
                busy = max(0.0, min(1.0, level * mood + chance.uniform(-0.12, 0.06) * mood))
                if busy_now(lab, gpu, lease) == 0 and quarter > lab.now - 5400:
                    busy = 0.0
                seen = min(quarter + 900, end) - max(quarter, start)
                use.append(
                    {
                        "begin": quarter,
                        "lease": lease,
                        "measured_seconds": seen,
                        "idle_seconds": seen if busy < 0.02 else 0.0,
                        "utilisation": busy,
                    }
                )
                quarter += 900
        told.append(
            {
                "uuid": gpu["uuid"],
                "spans": [
                    {"lease": i, "holder": w, "machine": m, "begin": b, "end": e, "is_mine": w == viewer}
                    for i, w, m, b, e in spans
                ],
                "use": use,
            }
        )
    day = time.strftime("%Y-%m-%d", local)
    return {"day": day, "begin": begin, "end": begin + 86400, "step": 900, "gpus": told}


def busy_now(lab: Lab, gpu: State, lease: int) -> float | None:
    """What the GPU does now, if that lease holds it."""
    if lease not in [holder["lease"] for holder in gpu["holders"]]:
        return None
    told = lab.figures.get(gpu["uuid"], {}).get("utilisation_percent")
    return None if told is None else float(told)


def template(owner: str, name: str, viewer: str, **more: Any) -> State:
    """A template as ``viewer`` is told of it: the owner's to change, else shared."""
    mine = owner == viewer
    versions = more.pop("versions", None) or [version(1)]
    return {
        "reference": f"{owner}/{name}",
        "owner": owner,
        "name": name,
        "note": "",
        "created_at": NOW - 9 * 86400,
        "mine": mine,
        "manageable": mine or viewer == "admin",
        "startable": [one["number"] for one in versions],
        "versions": versions,
        "shares": [],
    } | more


def version(number: int, gigabytes: float = 1.4, days_ago: float = 2, **more: Any) -> State:
    """One save of it."""
    return {
        "number": number,
        "base": "gpubox/cuda:latest",
        "machine": "h100",
        "size_bytes": int(gigabytes * 1e9),
        "saved_at": NOW - days_ago * 86400,
        "secrets": [],
        "cleared": True,
        "engine": "",
    } | more


def shelf(viewer: str) -> State:
    """Templates of a lab, as somebody is told of them: alice's, and those that others share with everyone."""
    secrets = ["/opt/lab/.aws/credentials", "/opt/lab/deploy.pem"]
    everyone = {"kind": "everyone", "name": ""}
    lab = [version(1, 6.1, 40), version(2, 6.3, 12), version(3, 6.8, 1, secrets=secrets, cleared=False)]
    disk = version(1, 9.2, 3, engine="libvirt", base="gpubox-vm-20261101090000")
    shares = [{"kind": "user", "name": "ben"}, {"kind": "group", "name": "vision"}]
    templates = [
        template("alice", "torch-lab", viewer, versions=lab, shares=shares, note="PyTorch nightly, apex"),
        template("alice", "jax-2026", viewer, versions=[version(1, 0.012, 0.1)]),
        template("ben", "rstudio", viewer, shares=[everyone], note="R 4.5 and RStudio, for the seminar"),
        template("ben", "own-kernel", viewer, shares=[everyone], versions=[disk]),
        template("chloé", "mmdet", viewer, shares=[everyone], versions=[version(1, 3.2), version(2, 3.4, 1)]),
    ]
    if viewer == "admin":
        templates[0]["startable"] = templates[1]["startable"] = []
    elif viewer != "alice":
        templates[:2] = [templates[0] | {"startable": [1, 2], "versions": lab[:2], "shares": []}]
    used = sum(one["size_bytes"] for item in templates if item["mine"] for one in item["versions"])
    return {"templates": templates, "saves": [], "used_bytes": used, "limit_bytes": 25 * 10**9}
