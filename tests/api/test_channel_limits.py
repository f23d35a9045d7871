"""What a channel's plan may not be: names that no file has, hours that no clock shows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import ValidationError

from mediaserver.api.channel import NewChannel
from mediaserver.hub import Hub
from mediaserver.ingest.channel import Channels
from mediaserver.ingest.channel.channels import NoSuchFile


@pytest.mark.parametrize("name", ["\0", "a" * 5000, "a/" * 3000 + "b", ".", "../b.mp4"])
def test_a_name_that_no_file_can_have_is_told_as_such(tmp_path: Path, name: str) -> None:
    with pytest.raises(NoSuchFile) as caught:
        Channels(Hub(), tmp_path).check([name])
    assert len(caught.value.detail) < 600


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_an_hour_outside_of_what_can_be_told_in_utc_is_refused(at: str) -> None:
    with pytest.raises(ValidationError, match="starts_at"):
        NewChannel.model_validate_json(f'{{"files": ["a.mp4"], "starts_at": "{at}"}}')
    plan = NewChannel.model_validate_json(
        '{"files": ["a.mp4"], "starts_at": "2999-01-01T00:00:00Z"}'
    )
    assert plan.starts_at is not None


async def test_of_plans_that_come_at_once_one_waits_and_none_stays_behind(tmp_path: Path) -> None:
    channels = Channels(Hub(), tmp_path)
    before = asyncio.all_tasks()
    await channels.play("show", ["a.mp4"], loop=False, starts_at_s=4e9)
    await asyncio.gather(
        *(channels.play("show", ["a.mp4"], loop=False, starts_at_s=4e9) for _ in range(5))
    )
    await channels.stop("show")
    assert asyncio.all_tasks() == before
