"""compose.yaml keeps its promises, and agrees with the Dockerfile and the defaults."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import Config, load

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").rpartition("\nFROM ")[2]
DRAIN_S = 10


@pytest.fixture
def hawker() -> dict[str, Any]:
    """The one service."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
    assert list(services) == ["hawker"]
    service: dict[str, Any] = services["hawker"]
    return service


def dockerfile(instruction: str) -> str:
    """The words behind an instruction of the final image, on one line."""
    text = re.sub(r"\s*\\\n\s*", " ", DOCKERFILE)
    found = re.search(rf"^{instruction} (.+)$", text, re.MULTILINE)
    assert found, instruction
    return found[1]


def test_it_builds_the_image_of_the_dockerfile(hawker: dict[str, Any]) -> None:
    assert hawker["build"] == "."
    assert (ROOT / "Dockerfile").exists()


def test_every_port_of_the_image_is_published_under_its_own_number(
    hawker: dict[str, Any],
) -> None:
    published = set()
    for port in hawker["ports"]:
        outside, inside = port.split(":")
        assert outside == inside.partition("/")[0]
        published.add(inside)
    config = Config()
    assert published == set(dockerfile("EXPOSE").split())
    assert f"{config.webrtc.port}/udp" in published
    assert all(int(port.partition("/")[0]) >= 1024 for port in published)  # without capabilities


def test_data_lies_in_a_named_volume_where_the_image_expects_it(hawker: dict[str, Any]) -> None:
    whole = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    name, _, path = hawker["volumes"][0].partition(":")
    assert len(hawker["volumes"]) == 1
    assert name in whole["volumes"]
    assert path == dockerfile("VOLUME") == dockerfile("WORKDIR")
    assert f"HAWKER_DATA__DIR={path}" in dockerfile("ENV")


def test_the_container_can_do_nothing_that_it_need_not(hawker: dict[str, Any]) -> None:
    assert hawker["user"] == dockerfile("USER") != "root"
    assert hawker["read_only"] is True
    assert hawker["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in hawker["security_opt"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(hawker)
    assert not any("docker.sock" in volume for volume in hawker["volumes"])
    path, _, options = hawker["tmpfs"][0].partition(":")
    assert path == "/tmp"
    assert {"noexec", "nosuid", "nodev"} <= set(options.split(","))


def test_it_is_watched_bounded_and_brought_back(hawker: dict[str, Any]) -> None:
    check = hawker["healthcheck"]["test"]
    assert check[0] == "CMD"
    assert json.dumps(check[3]) in dockerfile("HEALTHCHECK")
    assert hawker["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+[mg]", hawker["mem_limit"])
    assert int(hawker["stop_grace_period"].removesuffix("s")) > DRAIN_S


def test_what_it_sets_is_a_setting_and_allowed(
    hawker: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in hawker["environment"].items():
        text = re.sub(r"\$\{(\w+):-([^}]*)\}", r"\2", value)
        assert string.Template(text).is_valid() and "$" not in text
        monkeypatch.setenv(name, text)
    assert load(None).webrtc.public_addresses == ("127.0.0.1",)
    assert hawker["command"] == ["${HAWKER_COMMAND:-serve}"]
    assert json.loads(dockerfile("CMD")) == ["serve"]
