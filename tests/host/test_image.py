"""The build's command, what it says meanwhile, and its failures in words."""

import os
import re
from datetime import UTC, datetime, timedelta

import pytest

from gpubox import __version__
from gpubox.host.contents import Contents
from gpubox.host.image import (
    BuildStory,
    ImageFacts,
    build_command,
    build_image,
    ca_bundle,
    cuda_version,
    explain,
    find_image,
    image_name,
)

HOLDS = Contents("PyTorch 2.6, JAX 0.12")
OUTPUT = """\
#0 building with "default" instance using docker driver
#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
#5 [system 2/5] RUN printf x
#5 CACHED
#6 [system 3/5] RUN --mount=type=cache,target=/var/cache/apt  export LC_ALL=C  && apt-get update
#6 0.183 Get:1 trixie InRelease [140 kB]
#6 0.261 Get:2 trixie-updates InRelease [47.3 kB]
#6 DONE 22.8s
#7 [cpu 1/1] COPY --from=files /files/ /
#7 DONE 0.1s
#9 exporting to image
#9 exporting layers
#9 DONE 2.2s
#10 exporting to client directory
#10 copying files 16.03MB 0.1s
#10 copying files 4.60GB 46.2s done
#10 DONE 46.3s
"""


def test_a_build_is_told_in_a_line_a_step_that_really_runs():
    said = []
    story = BuildStory(said.append)
    for line in OUTPUT.splitlines():
        story.hear(line)
    assert said == [
        "system 3/5: RUN apt-get update",
        "system 3/5: done in 22 s",
        "handing the image to the engine",
        "copying what was built out of the engine",
        "copying what was built out of the engine: done in 46 s",
    ]


def test_no_line_is_longer_than_a_terminal():
    said = []
    story = BuildStory(said.append)
    story.hear(f"#6 [cpu-frameworks 10/11] RUN apt-get install {'package ' * 50}")
    story.hear("#6 0.1 working")
    assert len(said[0]) < 100


def test_the_certificates_of_the_machine_are_a_secret_of_the_build():
    command = build_command("cpu", base="gpubox/base:trixie", version="1.0", ca="/etc/lab.pem", holds=HOLDS)
    assert command[command.index("--secret") + 1] == "id=ca,src=/etc/lab.pem"
    assert not any("lab.pem" in word for word in command if word.startswith(("BASE", "VERSION")))


def test_a_machine_with_no_certificates_of_its_own_passes_none():
    command = build_command("cpu", base="debian:trixie", version="1.0", ca="", holds=HOLDS)
    assert "--secret" not in command


def test_what_an_image_holds_goes_into_its_labels():
    command = build_command("cuda", base="x", version="1", ca="", holds=Contents("JAX 0.12", "13.2"))
    assert {"CONTENTS=JAX 0.12, CUDA 13.2", "CUDA=13.2"} <= set(command)
    assert not [
        word for word in build_command("cpu", base="x", version="1", ca="", holds=HOLDS) if "CUDA" in word
    ]


def test_what_an_admin_adds_to_a_build_is_among_its_arguments():
    command = build_command("cpu", base="x", version="1", ca="", holds=HOLDS, more={"FAST_LANE": "yes"})
    assert command[command.index("FAST_LANE=yes") - 1] == "--build-arg"


def test_another_tag_can_be_named(monkeypatch):
    assert image_name("cuda") == f"gpubox/cuda:{os.environ.get('GPUBOX_IMAGE_TAG', 'latest')}"
    monkeypatch.setenv("GPUBOX_IMAGE_TAG", "next")
    assert image_name("cpu") == "gpubox/cpu:next"


def test_the_first_certificates_that_exist_are_taken(tmp_path):
    real = tmp_path / "ca.pem"
    real.write_text("-----BEGIN CERTIFICATE-----")
    assert ca_bundle({"SSL_CERT_FILE": "/none.pem", "PIP_CERT": str(real)}) == str(real)
    assert ca_bundle({}) == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#9 12.1 write /usr/lib/x: no space left on device", "the disk of the container engine is full"),
        ("#9 1.1 Temporary failure in name resolution", "Check this machine's network"),
        ("#9 1.1 E: Failed to fetch http://mirror/x.deb", "Check this machine's network"),
        (
            "#9 9.9 error: Request failed after 3 retries\n#9 9.9   Caused by: error sending request for url",
            "Check this machine's network",
        ),
        ("#9 1.1 invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
        (
            "#2 [internal] load metadata for registry/library/debian:trixie\n"
            "#2 ERROR: failed to do request: dial tcp: lookup registry: no such host",
            "sudo make image",
        ),
    ],
)
def test_a_failed_build_says_what_to_do(line, words):
    assert words in explain(line.splitlines())


def test_an_unknown_failure_shows_the_end_of_the_output():
    said = explain([f"line {number}" for number in range(100)])
    assert "line 99" in said and "line 50" not in said


def test_the_image_says_which_gpubox_built_it(docker_client, image):
    found = find_image(docker_client, image)
    assert found.version == __version__
    assert re.fullmatch(r"PyTorch [\d.]+, TensorFlow [\d.]+, JAX [\d.]+, Keras [\d.]+", found.contents)
    assert found.size_bytes > 100e6


def test_an_image_that_is_not_there_is_none(docker_client):
    assert find_image(docker_client, "gpubox/no-such-image:latest") is None


def test_a_second_build_with_nothing_changed_makes_the_same_image(docker_client, image):
    first = docker_client.images.get(image).id
    build_image(docker_client, "cpu", print)
    assert docker_client.images.get(image).id == first


def test_age_counts_whole_days():
    now = datetime(2026, 6, 30, tzinfo=UTC)
    found = ImageFacts("x", now - timedelta(days=3, hours=5), 1)
    assert found.age_days(now) == 3
    assert ImageFacts("x", now + timedelta(hours=1), 1).age_days(now) == 0  # clocks differ


@pytest.mark.parametrize(
    ("text", "version"), [("13.0", (13, 0)), ("12.8.1", (12, 8)), ("", None), ("new", None)]
)
def test_cuda_versions_are_read_from_the_label(text, version):
    assert cuda_version(text) == version
