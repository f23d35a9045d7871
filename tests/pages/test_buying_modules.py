"""What the watch page's shop computes, run in Node.js: decoding, order of events, media time, money."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.pages.pages import evaluate

BATCH = 20  # values of one run of Node.js
NO_SHRINKING = [Phase.explicit, Phase.generate]  # each try is a process
SAFE = 2**53 - 1

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(TEXT, inner, max_size=20),
    max_leaves=8,
)

DECODE = """
    import { decode } from "PAGES/js/watch/events/msgpack.js";
    const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
    const read = (hex) => {
      try {
        return { value: decode(bytes(hex)) };
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        return { refused: true };
      }
    };
"""


# text, a list and a map on both sides of each form's limit: what hypothesis makes is short
LONG = [
    ["x" * n, [0] * n, {str(i): None for i in range(n)}] for n in (15, 16, 31, 32, 255, 256, 70_000)
]


def _decoded(node: str, packed: list[bytes]) -> list[dict[str, Any]]:
    program = f"""{DECODE}
        const found = {json.dumps([each.hex() for each in packed])}.map(read);
        console.log(JSON.stringify(found));
    """
    found = evaluate(node, program)
    assert isinstance(found, list)
    return found


def _exact(value: Any) -> Any:
    """JavaScript writes large floats with all their digits, which look like integers."""
    match value:
        case int() if abs(value) > SAFE:
            return float(value)
        case list():
            return [_exact(each) for each in value]
        case dict():
            return {key: _exact(each) for key, each in value.items()}
    return value


@settings(max_examples=20, phases=NO_SHRINKING)
@given(st.lists(VALUES, min_size=BATCH, max_size=BATCH))
def test_what_python_packs_the_page_reads(node: str, values: list[Any]) -> None:
    found = _decoded(node, [msgpack.packb(value) for value in values])
    assert [_exact(each["value"]) for each in found] == values


@pytest.mark.parametrize("values", LONG, ids=lambda values: str(len(values[0])))
def test_every_length_that_msgpack_has_a_form_for_is_read(
    node: str, tmp_path: Path, values: list[Any]
) -> None:
    file = tmp_path / "packed"
    file.write_bytes(msgpack.packb(values))
    program = f"""{DECODE}
        import {{ readFileSync }} from "node:fs";
        console.log(JSON.stringify(decode(readFileSync({json.dumps(str(file))}))));
    """
    assert evaluate(node, program) == values


@settings(max_examples=5, phases=NO_SHRINKING)
@given(st.lists(VALUES, min_size=20, max_size=20))
def test_what_is_cut_off_or_goes_on_is_refused(node: str, values: list[Any]) -> None:
    packed = [msgpack.packb(value) for value in values]
    broken = [each[:-1] for each in packed] + [each + b"\xc0" for each in packed]
    assert _decoded(node, broken) == [{"refused": True}] * len(broken)


@settings(max_examples=5, phases=NO_SHRINKING)
@given(st.lists(st.binary(max_size=64), min_size=100, max_size=100))
def test_no_bytes_are_too_strange_to_be_refused(node: str, junk: list[bytes]) -> None:
    assert len(_decoded(node, junk)) == len(junk)


@pytest.mark.parametrize(
    "packed",
    [
        msgpack.packb(b"bytes"),
        msgpack.packb(msgpack.ExtType(1, b"x")),
        msgpack.packb({1: "a key that is not text"}),
        msgpack.packb(2**60),
        b"\xa2\xff\xfe",  # text that is not UTF-8
        b"\x91" * 25 + b"\xc0",  # too deep
        b"\xdd\xff\xff\xff\xff",  # a list that claims four thousand million items
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
    ],
    ids=lambda packed: packed[:6].hex(),
)
def test_what_json_has_not_and_what_is_too_much_is_refused(node: str, packed: bytes) -> None:
    assert _decoded(node, [packed]) == [{"refused": True}]


def test_a_key_named_proto_is_a_member_like_others(node: str) -> None:
    program = f"""{DECODE}
        const value = decode(bytes("{msgpack.packb({"__proto__": {"polluted": 1}}).hex()}"));
        console.log(JSON.stringify([Object.keys(value), {{}}.polluted ?? null]));
    """
    assert evaluate(node, program) == [["__proto__"], None]


SEQUENCE = """
    import { EventSequence } from "PAGES/js/watch/events/event_sequence.js";
    const sequence = new EventSequence();
    const out = [];
    const say = (ready) => out.push([...ready]);
"""


def test_events_are_delivered_once_and_in_order_however_they_come(node: str) -> None:
    program = f"""{SEQUENCE}
        say(sequence.take(12, "b", 0));            // before the snapshot: kept
        say(sequence.reset(10, 0));                // 11 is missing
        say(sequence.take(11, "a", 5));
        say(sequence.take(11, "a", 25));           // a copy
        say(sequence.take(14, "d", 30));
        say(sequence.take(13, "c", 50));
        console.log(JSON.stringify([out, sequence.last]));
    """
    assert evaluate(node, program) == [[[], [], ["a", "b"], [], [], ["c", "d"]], 14]


def test_a_gap_is_noticed_when_it_does_not_fill_itself(node: str) -> None:
    program = f"""{SEQUENCE}
        sequence.reset(10, 0);
        sequence.take(12, "b", 100);
        out.push(sequence.gap(150), sequence.gap(180));  // copies may still bring 11
        sequence.take(11, "a", 190);
        out.push(sequence.gap(500));
        console.log(JSON.stringify(out));
    """
    assert evaluate(node, program) == [False, True, False]


def test_the_seq_of_every_second_shows_that_the_last_event_was_lost(node: str) -> None:
    program = f"""{SEQUENCE}
        sequence.reset(10, 0);
        sequence.told(10, 1000);
        out.push(sequence.gap(5000));
        sequence.told(11, 2000);
        sequence.told(11, 3000);                   // the gap is as old as it was
        out.push(sequence.gap(2299), sequence.gap(2300));
        say(sequence.take(11, "a", 3100));
        out.push(sequence.gap(9000));
        console.log(JSON.stringify(out));
    """
    assert evaluate(node, program) == [False, False, True, ["a"], False]


def test_a_snapshot_older_than_what_was_delivered_brings_it_again(node: str) -> None:
    program = f"""{SEQUENCE}
        sequence.reset(10, 0);
        say(sequence.take(11, "a", 1));
        say(sequence.take(12, "b", 2));
        say(sequence.reset(11, 3));                // the other carrier's `hello` was made before 12
        say(sequence.take(12, "b", 4));
        say(sequence.reset(40, 5));
        say(sequence.take(41, "c", 6));
        console.log(JSON.stringify([out, sequence.last, sequence.gap(9000)]));
    """
    assert evaluate(node, program) == [[["a"], ["b"], ["b"], [], [], ["c"]], 41, False]


def test_a_room_that_began_anew_counts_from_there(node: str) -> None:
    program = f"""{SEQUENCE}
        sequence.reset(100000, 0);
        sequence.take(100001, "old", 1);
        say(sequence.reset(3, 2));
        say(sequence.take(4, "new", 3));
        console.log(JSON.stringify([out, sequence.gap(9000)]));
    """
    assert evaluate(node, program) == [[[], ["new"]], False]


@settings(max_examples=5, phases=NO_SHRINKING)
@given(st.data())
def test_whatever_the_network_does_nothing_is_delivered_twice_or_out_of_order(
    node: str, data: st.DataObject
) -> None:
    runs = [
        data.draw(
            st.lists(st.integers(1, 30), max_size=80).map(lambda some: [*some, *range(1, 31)])
        )
        for _ in range(30)
    ]
    program = f"""
        import {{ EventSequence }} from "PAGES/js/watch/events/event_sequence.js";
        const found = {json.dumps(runs)}.map((numbers) => {{
          const sequence = new EventSequence();
          sequence.reset(0, 0);
          return numbers.flatMap((number, now) => sequence.take(number, number, now));
        }});
        console.log(JSON.stringify(found));
    """
    assert evaluate(node, program) == [list(range(1, 31))] * len(runs)


def test_events_kept_are_bounded_and_a_resume_still_fills_the_gap(node: str) -> None:
    program = f"""{SEQUENCE}
        sequence.reset(0, 0);
        for (let number = 2; number < 5000; number += 1) sequence.take(number, number, 1);
        out.push(sequence.gap(1000));
        let delivered = 0;
        for (let number = 1; number < 5000; number += 1) {{
          const ready = sequence.take(number, number, 2);
          for (const each of ready) delivered = each === delivered + 1 ? each : -1;
        }}
        console.log(JSON.stringify([...out, delivered, sequence.gap(9000)]));
    """
    assert evaluate(node, program) == [True, 4999, False]


@settings(max_examples=5, phases=NO_SHRINKING)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 10**12), st.integers(-(2**30), 2**30)),
        min_size=100,
        max_size=100,
    )
)
def test_a_frame_reaches_its_time_across_the_wrap(
    node: str, rows: list[tuple[int, int, int]]
) -> None:
    program = f"""
        import {{ reached, rtpAt }} from "PAGES/js/watch/events/media_clock.js";
        const found = {json.dumps(rows)}.map(([base, mt_ms, ahead]) => {{
          const target = rtpAt(mt_ms, base, 90000);
          return [target, reached(((target + ahead) % 2 ** 32 + 2 ** 32) % 2 ** 32, target)];
        }});
        console.log(JSON.stringify(found));
    """
    for (base, mt_ms, ahead), (target, is_reached) in zip(
        rows, evaluate(node, program), strict=True
    ):
        assert target == (base + mt_ms * 90) % 2**32
        assert is_reached == (ahead >= 0)


def test_the_server_s_clock_is_told_best_by_the_quickest_event(node: str) -> None:
    program = """
        import { MediaClock } from "PAGES/js/watch/events/media_clock.js";
        let now = 1000;
        const clock = new MediaClock(() => now);
        clock.set({ now: 50_000, epoch: 40_000, rtp_base: 0, rtp_rate: 90000 }); // 30 ms late, say
        const seen = [clock.now(), clock.due(12_000), clock.rtp(1000), clock.due(null), clock.rtp(null)];
        now = 2000;
        clock.heard(51_030); // and this one came at once
        clock.heard(50_000); // a slow one says nothing
        seen.push(clock.now());
        clock.set({ now: 60_000, epoch: null, rtp_base: null, rtp_rate: 90000 });
        seen.push(clock.due(5), clock.rtp(5));
        console.log(JSON.stringify(seen));
    """
    assert evaluate(node, program) == [50_000, 52_000, 90_000, None, None, 51_030, None, None]


GATE = """
    import { FrameGate } from "PAGES/js/watch/events/frame_gate.js";
    import { MediaClock } from "PAGES/js/watch/events/media_clock.js";
    globalThis.setTimeout = (act, ms) => timers.push({ act, ms });
    globalThis.clearTimeout = () => {};
    const timers = [];
    const shown = [];
    let frame = null;
    const video = { requestVideoFrameCallback: (act) => (frame = act) };
    const clock = new MediaClock(() => 0);
    clock.set({ now: 1_000_000, epoch: 900_000, rtp_base: 2 ** 32 - 90, rtp_rate: 90000 });
    const gate = (byFrame) => new FrameGate({ video, clock, byFrame: () => byFrame });
    const passes = (rtpTimestamp) => frame(0, { rtpTimestamp });
"""


def test_a_card_waits_for_its_frame_and_no_longer_than_it_may(node: str) -> None:
    program = f"""{GATE}
        const live = gate(true);
        live.at("a", 100_000, () => shown.push("a"));  // due now: 800 ms at most
        live.at("b", 100_040, () => shown.push("b"));
        passes(100_000 * 90 - 91);
        const before = [...shown];
        passes(100_000 * 90 - 90);
        const after = [...shown];
        timers[1].act();                                // the picture stands still
        live.at("c", 50_000, () => shown.push("c"));   // long on the screen
        live.at("d", null, () => shown.push("d"));
        const hls = gate(false);
        hls.at("e", 100_300, () => shown.push("e"));
        console.log(JSON.stringify([before, after, shown, timers.map(({{ ms }}) => ms)]));
    """
    assert evaluate(node, program) == [[], ["a"], ["a", "b", "c", "d"], [800, 840, 300]]


def test_a_card_taken_down_before_its_frame_is_never_shown(node: str) -> None:
    program = f"""{GATE}
        const live = gate(true);
        live.at("a", 100_000, () => shown.push("a"));
        live.drop("a");
        passes(100_000 * 90 + 9000);
        console.log(JSON.stringify(shown));
    """
    assert evaluate(node, program) == []


CARD = "{ id: 'crd_1', product_id: 'p1', pinned_at: '2026-01-01T00:00:01.000Z' }"


def test_the_newest_card_is_the_large_one_and_the_others_stay_within_reach(node: str) -> None:
    program = f"""
        import {{ Cards }} from "PAGES/js/watch/selling/cards.js";
        const gate = {{ at: (id, mt, act) => act(), drop: () => {{}} }};
        const news = [];
        const cards = new Cards({{ gate, onChange: (told) => news.push(told.news?.id ?? null) }});
        const one = {CARD};
        const two = {{ ...one, id: "crd_2", product_id: "p2", pinned_at: "2026-01-01T00:00:02.000Z" }};
        const seen = () => [cards.shown?.id ?? null, cards.all.map(({{ id }}) => id)];
        const steps = [];
        cards.reset([one]); steps.push(seen());
        cards.pin(two, 5); steps.push(seen());
        cards.show("crd_1"); cards.unpin("crd_1"); steps.push(seen());
        cards.show(null); cards.pin({{ ...two, id: "crd_3" }}, 6); steps.push(seen());
        cards.unpin("crd_3"); steps.push(seen());
        console.log(JSON.stringify([steps, news]));
    """
    steps, news = evaluate(node, program)
    assert steps == [
        ["crd_1", ["crd_1"]],
        ["crd_2", ["crd_2", "crd_1"]],
        ["crd_2", ["crd_2"]],
        ["crd_3", ["crd_3"]],  # the same product again: its earlier card goes
        [None, []],
    ]
    assert news == [None, "crd_2", None, None, None, "crd_3", None]


@pytest.mark.parametrize(
    ("amount", "currency", "english", "chinese"),
    [
        (1990, "CNY", "¥19.90", "¥19.90"),
        (0, "CNY", "¥0.00", "¥0.00"),
        (5, "USD", "$0.05", "$0.05"),
        (-150, "EUR", "-€1.50", "-€1.50"),
        (1990, "JPY", "¥1,990", "¥1,990"),
        (123_456, "KWD", "KWD 123.456", "KWD 123.456"),
        (2**53 - 1, "USD", "$90,071,992,547,409.91", "$90,071,992,547,409.91"),
    ],
)
def test_money_is_shown_with_its_currency_s_own_digits(
    amount: int, currency: str, english: str, chinese: str, node: str
) -> None:
    program = f"""
        import {{ formatMoney }} from "PAGES/js/money.js";
        const money = {json.dumps({"amount": amount, "currency": currency})};
        const shown = ["en", "zh"].map((tag) => formatMoney(money, tag));
        console.log(JSON.stringify([...shown, formatMoney(null)]));
    """
    shown = [text.replace("\xa0", " ") for text in evaluate(node, program)]
    assert shown == [english, chinese, ""]


def test_what_is_left_of_a_reservation_is_counted_by_the_servers_clock(node: str) -> None:
    program = """
        import { left_s, minutes } from "PAGES/js/watch/selling/countdown.js";
        const end = "2026-01-01T00:10:00.000Z";
        const at = Date.parse(end);
        const left = [at - 600_000, at - 1, at, at + 5000].map((now) => left_s(end, now));
        console.log(JSON.stringify([left, left_s(null, at), [0, 65, 600, 3605].map(minutes)]));
    """
    assert evaluate(node, program) == [
        [600, 1, 0, 0],
        None,
        ["0:00", "1:05", "10:00", "1:00:05"],
    ]


BUYING = """
    import { Buying } from "PAGES/js/watch/selling/buying.js";
    import { Problem } from "PAGES/js/problem.js";
    const kept = new Map();
    globalThis.sessionStorage = {
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => kept.set(key, value),
      removeItem: (key) => kept.delete(key),
    };
    const later = globalThis.setTimeout;
    globalThis.setTimeout = (act, ms) => later(act, ms / 1000);
    const sent = [];
    const body = { room: "show", lines: [{ sku: "CUP", qty: 1 }], price_version: "pv_1" };
    const answers = [];
    const answer = (over) => async (...asked) => {
      const key = over === "events" ? asked[1].key : asked[1]?.key;
      sent.push([over, key]);
      const next = answers.shift();
      if (next instanceof Problem) throw next;
      return over === "events" ? { order: next } : next;
    };
    const events = { send: answer("events") };
    const api = { json: answer("http") };
    const buying = new Buying({ room: "show", events, api });
    const outcome = async (promise) => {
      try {
        return (await promise).id;
      } catch (error) {
        return error.code;
      }
    };
"""


def test_a_buy_that_gets_no_answer_goes_on_over_http_under_the_same_key(node: str) -> None:
    program = f"""{BUYING}
        answers.push(new Problem("no_answer"), new Problem("unreachable"), {{ id: "ord_1" }});
        const id = await outcome(buying.buy(body));
        const [over, keys] = [sent.map(([way]) => way), new Set(sent.map(([, key]) => key))];
        console.log(JSON.stringify([id, over, keys.size, kept.size]));
    """
    assert evaluate(node, program) == ["ord_1", ["events", "http", "http"], 1, 0]


def test_a_double_click_is_one_act(node: str) -> None:
    program = f"""{BUYING}
        answers.push({{ id: "ord_1" }}, {{ id: "ord_2" }});
        const both = await Promise.all([outcome(buying.buy(body)), outcome(buying.buy(body))]);
        const third = await outcome(buying.buy(body));
        console.log(JSON.stringify([both, third, new Set(sent.map(([, key]) => key)).size]));
    """
    assert evaluate(node, program) == [["ord_1", "ord_1"], "ord_2", 2]


def test_a_refusal_frees_the_key_and_silence_keeps_it(node: str) -> None:
    program = f"""{BUYING}
        answers.push(new Problem("price_changed"), new Problem("cut"));
        for (let tries = 0; tries < 6; tries += 1) answers.push(new Problem("unreachable"));
        answers.push({{ id: "ord_1" }});
        const first = await outcome(buying.buy(body));
        const free = kept.size;
        const second = await outcome(buying.buy(body));
        const waits = JSON.parse(kept.get("hawker.buying.show")).map(([, key]) => key);
        const third = await outcome(buying.buy(body));
        const keys = sent.map(([, key]) => key);
        console.log(JSON.stringify([
          [first, free, second, third],
          [new Set(keys).size, keys[0] !== keys[1], waits[0] === keys.at(-1), kept.size],
        ]));
    """
    assert evaluate(node, program) == [
        ["price_changed", 0, "unreachable", "ord_1"],
        [2, True, True, 0],
    ]


def test_after_a_reload_an_order_whose_answer_was_lost_is_found_by_its_key(node: str) -> None:
    program = f"""{BUYING}
        kept.set("hawker.buying.show", JSON.stringify([["one", "key-1"], ["two", "key-2"]]));
        const reloaded = new Buying({{ room: "show", events, api }});
        answers.push({{ id: "ord_1" }}, new Problem("not_found"));
        const found = await reloaded.recover();
        console.log(JSON.stringify([found.map(({{ id }}) => id), kept.size]));
    """
    assert evaluate(node, program) == [["ord_1"], 0]


def test_an_older_word_about_an_order_does_not_undo_a_newer_one(node: str) -> None:
    program = """
        import { MyOrders } from "PAGES/js/watch/selling/my_orders.js";
        const orders = new MyOrders({ onChange: () => {} });
        const order = (id, state, at, more) => ({
          id, state, lines: [], created_at: `${id}`, updated_at: `2026-01-01T00:00:0${at}.000Z`, ...more,
        });
        orders.put(order("ord_1", "confirmed", 2, { link: "/orders/ord_1#key=x" }));
        orders.put(order("ord_1", "reserved", 1));
        orders.put(order("ord_1", "completed", 3));
        orders.put({ order: "ord_9" });
        const first = orders.current;
        orders.put(order("ord_0", "reserved", 1));
        console.log(JSON.stringify([first.state, first.link, orders.current.id, orders.all.length]));
    """
    assert evaluate(node, program) == ["completed", "/orders/ord_1#key=x", "ord_0", 2]
