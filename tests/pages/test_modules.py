"""What the pages' modules compute, run in Node.js."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pages.pages import evaluate

CAPTURES = Path(__file__).parent / "captures"


def test_the_offer_asks_for_stereo_opus_once(node: str) -> None:
    offer = (CAPTURES / "chromium_whep_offer.sdp").read_bytes().decode()
    program = f"""
        import {{ withStereo }} from "PAGES/js/webrtc/sdp.js";
        const once = withStereo({json.dumps(offer)});
        console.log(JSON.stringify([once, withStereo(once)]));
    """
    once, twice = evaluate(node, program)
    changed = [
        (before, after)
        for before, after in zip(offer.splitlines(), once.splitlines(), strict=True)
        if before != after
    ]
    (opus,) = [line.split()[0] for line in offer.splitlines() if "opus/48000/2" in line]
    payload_type = opus.partition(":")[2]
    assert changed == [
        (
            f"a=fmtp:{payload_type} minptime=10;useinbandfec=1",
            f"a=fmtp:{payload_type} minptime=10;useinbandfec=1;stereo=1",
        )
    ]
    assert twice == once


def test_an_offer_without_parameters_for_opus_gets_them(node: str) -> None:
    offer = "m=audio 9 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=mid:0\r\n"
    program = f"""
        import {{ withStereo }} from "PAGES/js/webrtc/sdp.js";
        console.log(JSON.stringify([withStereo({json.dumps(offer)}), withStereo("v=0")]));
    """
    assert evaluate(node, program) == [
        "m=audio 9 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 stereo=1\r\na=mid:0\r\n",
        "v=0",
    ]


def test_an_answer_carries_what_it_does_not_refuse(node: str) -> None:
    program = """
        import { carries } from "PAGES/js/webrtc/sdp.js";
        const answer = "m=audio 0 RTP/AVP 0\\r\\nm=video 9 UDP/TLS/RTP/SAVPF 96\\r\\n";
        console.log(JSON.stringify(["audio", "video", "text"].map((kind) => carries(answer, kind))));
    """
    assert evaluate(node, program) == [False, True, False]


def test_waits_double_up_to_the_most_and_spread_by_half(node: str) -> None:
    program = """
        import { Backoff } from "PAGES/js/backoff.js";
        const rows = Array.from({ length: 200 }, () => {
          const backoff = new Backoff({ first_ms: 1000, most_ms: 6000 });
          const waits = Array.from({ length: 5 }, () => backoff.next());
          backoff.reset();
          return [...waits, backoff.next()];
        });
        console.log(JSON.stringify(rows));
    """
    rows = evaluate(node, program)
    assert isinstance(rows, list)
    for column, middle in zip(zip(*rows, strict=True), [1, 2, 4, 6, 6, 1], strict=True):
        assert middle * 500 <= min(column) < middle * 700
        assert middle * 1300 < max(column) <= middle * 1500


def test_a_sleep_ends_early_when_it_is_woken(node: str) -> None:
    program = """
        import { Sleep } from "PAGES/js/backoff.js";
        const sleep = new Sleep();
        sleep.wake();
        const woken = sleep.wait(2 ** 30).then(() => console.log("true"));
        sleep.wake();
        await woken;
    """
    assert evaluate(node, program) is True


def test_a_picture_that_stands_still_is_noticed_in_time(node: str) -> None:
    program = """
        import { StallWatch } from "PAGES/js/watch/player/stall_watch.js";
        const watch = new StallWatch(4000);
        const seen = [];
        const look = (count, now) => seen.push(watch.stalled(count, now));
        look(0, 0); look(10, 1000); look(10, 5000); look(10, 5001);    // moved at 1000: until 5000
        look(11, 6000); watch.hurry(); look(11, 7500); look(11, 7501); // hurried: after 1500
        look(12, 8000); look(12, 12000);                               // moved: patient again
        watch.rest(12000); look(12, 16000); look(12, 16001);           // rested: counted from there
        console.log(JSON.stringify(seen));
    """
    assert evaluate(node, program) == [
        *(False, False, False, True),
        *(False, False, True),
        *(False, False),
        *(False, True),
    ]


def test_a_token_says_when_it_expires(node: str) -> None:
    program = """
        import { expiry_ms } from "PAGES/js/viewer_token.js";
        const base64url = (text) => Buffer.from(text).toString("base64url");
        const token = (payload) => `e30.${base64url(JSON.stringify(payload))}.x`;
        const good = [token({ exp: 12, name: "~~~???>>>" }), token({})];
        const bad = ["", "a.b", "a.%%.c", token(null)];
        console.log(JSON.stringify([...good, ...bad].map(expiry_ms)));
    """
    assert evaluate(node, program) == [12_000, None, 0, 0, 0, 0]  # JSON has no Infinity


@settings(max_examples=10)
@given(st.lists(st.text(), min_size=50, max_size=50))
def test_no_token_is_too_strange_to_read(node: str, tokens: list[str]) -> None:
    program = f"""
        import {{ expiry_ms }} from "PAGES/js/viewer_token.js";
        const found = {json.dumps(tokens)}.map(expiry_ms);
        console.log(JSON.stringify(found.every((expiry) => expiry === 0)));
    """
    assert evaluate(node, program) is True


def test_sound_alone_is_life_for_a_while_and_then_a_frozen_picture_is_none(node: str) -> None:
    program = """
        globalThis.MediaStream = class {};
        let now = 0;
        performance.now = () => now;
        const { WhepPlayer } = await import("PAGES/js/watch/player/whep.js");
        const player = new WhepPlayer({ room: "show", token: async () => null });
        let frames = 1, packets = 0;
        player.pc = { getStats: async () => new Map([
          [1, { type: "inbound-rtp", kind: "video", framesDecoded: frames }],
          [2, { type: "inbound-rtp", kind: "audio", packetsReceived: packets }],
        ]) };
        const seen = [];
        const looks = [
          [0, 1, 0], [4000, 1, 200], [16000, 1, 800],
          [21000, 1, 1000], [25000, 1, 1200], [26000, 2, 1250],
        ];
        for (const [at, frame, packet] of looks) {
          [now, frames, packets] = [at, frame, packet];
          seen.push(await player.progress());
        }
        console.log(JSON.stringify(seen));
    """
    assert evaluate(node, program) == [1, 201, 801, 1, 1, 1252]
