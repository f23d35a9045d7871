"""What the watch page computes of sales, coupons and prices, run in Node.js."""

from __future__ import annotations

from tests.pages.pages import evaluate

SALES = """
    import { Sales } from "PAGES/js/watch/selling/sales.js";
    let now = Date.parse("2026-01-01T00:00:00Z");
    const clock = { now: () => now };
    const changed = [];
    const sales = new Sales({ room: "show", api: {}, clock, onChange: (id) => changed.push(id) });
    const at = (s) => new Date(Date.parse("2026-01-01T00:00:00Z") + s * 1000).toISOString();
    const sale = (id, amount, from, to, more) => ({
      id, sku: "CUP", product_id: "prd_1", state: "scheduled", quota: 3, left: 3,
      price: { amount, currency: "CNY" }, starts_at: at(from), ends_at: at(to), ...more,
    });
    const seen = () => {
      const found = sales.of("CUP");
      return found && [found.sale.id, found.phase];
    };
"""

COUPONS = """
    import { Coupons } from "PAGES/js/watch/selling/coupons.js";
    import { Problem } from "PAGES/js/problem.js";
    const storage = () => {
      const kept = new Map();
      return {
        kept,
        getItem: (key) => kept.get(key) ?? null,
        setItem: (key, value) => kept.set(key, value),
        removeItem: (key) => kept.delete(key),
      };
    };
    globalThis.sessionStorage = storage();
    globalThis.localStorage = storage();
    const later = globalThis.setTimeout;
    globalThis.setTimeout = (act, ms) => later(act, ms / 1000);
    const coupon = {
      id: "cpn_1", per_buyer: 1, left: 5, room: null, skus: [], label: {}, ends_at: null,
      starts_at: "2026-01-01T00:00:00.000Z",
    };
    const clock = { now: () => Date.parse("2026-01-01T00:01:00Z") };
    const sent = [];
    let claims = [];
    const answers = [];
    const next = () => {
      const answer = answers.shift();
      if (answer instanceof Problem) throw answer;
      return answer;
    };
    const events = {
      send: async (type, { key }) => {
        sent.push([type, key]);
        return { claim: next() };
      },
    };
    const api = {
      json: async (url, asked) => {
        if (url === "/v1/coupon-claims") return { items: claims };
        sent.push([url, asked.key]);
        return next();
      },
    };
    const make = () => new Coupons({ room: "show", events, api, clock, onChange: () => {} });
    const coupons = make();
    coupons.drop(coupon);
"""


def test_a_sale_starts_and_ends_by_the_servers_clock_and_the_cheapest_counts(node: str) -> None:
    program = f"""{SALES}
        sales.reset([sale("late", 500, 60, 90), sale("first", 900, 10, 60), sale("cheap", 800, 20, 40)]);
        const phases = [];
        for (const s of [0, 10, 20, 39.9, 40, 59.9, 60, 90]) {{
          now = Date.parse(at(s));
          phases.push(seen());
        }}
        console.log(JSON.stringify(phases));
    """
    assert evaluate(node, program) == [
        ["first", "scheduled"],
        ["first", "running"],
        ["cheap", "running"],
        ["cheap", "running"],
        ["first", "running"],
        ["first", "running"],
        ["late", "running"],
        None,
    ]


def test_a_sale_without_pieces_is_gone_and_an_ended_one_is_none(node: str) -> None:
    program = f"""{SALES}
        now = Date.parse(at(15));
        sales.hear(sale("one", 900, 10, 60, {{ left: 0 }}));
        const gone = seen();
        sales.hear(sale("live", 950, 10, 60, {{ quota: null, left: null }}));
        const other = seen();
        sales.hear(sale("live", 950, 10, 15, {{ state: "ended" }}));
        sales.hear(sale("one", 900, 10, 15, {{ state: "ended" }}));
        console.log(JSON.stringify([gone, other, seen(), changed.length]));
    """
    assert evaluate(node, program) == [["one", "gone"], ["live", "running"], None, 4]


def test_a_claim_without_an_answer_goes_on_over_http_under_its_key(node: str) -> None:
    program = f"""{COUPONS}
        const before = coupons.offer.id;
        answers.push(new Problem("no_answer"), new Problem("unreachable"));
        answers.push({{ coupon: "cpn_1", claimed: 1, unspent: 1 }});
        claims = [{{ coupon, claimed: 1, unspent: 1 }}];
        await coupons.claim("cpn_1");
        const usable = coupons.usable(["CUP"]).map(({{ id }}) => id);
        const ways = sent.map(([way]) => way);
        const keys = new Set(sent.map(([, key]) => key));
        console.log(JSON.stringify([
          before, ways, keys.size, coupons.offer, usable, sessionStorage.kept.size,
        ]));
    """
    http = "/v1/coupons/cpn_1/claims"
    assert evaluate(node, program) == [
        "cpn_1",
        ["coupon.claim", http, http],
        1,
        None,
        ["cpn_1"],
        0,
    ]


def test_a_claim_cut_off_by_a_reload_is_asked_for_again_under_its_key(node: str) -> None:
    program = f"""{COUPONS}
        for (let tries = 0; tries < 7; tries += 1) answers.push(new Problem("unreachable"));
        const refused = await coupons.claim("cpn_1").catch(({{ code }}) => code);
        const reloaded = make();
        answers.push({{ coupon: "cpn_1", claimed: 1, unspent: 1 }});
        await reloaded.recover();
        reloaded.reset([coupon]);
        const keys = new Set(sent.map(([, key]) => key));
        console.log(JSON.stringify([refused, keys.size, reloaded.offer, sessionStorage.kept.size]));
    """
    assert evaluate(node, program) == ["unreachable", 1, None, 0]


def test_a_coupon_that_was_claimed_elsewhere_or_is_gone_is_not_offered_any_more(node: str) -> None:
    program = f"""{COUPONS}
        const had = new Problem("limit_reached", {{ extra: {{ claimed: 1 }} }});
        answers.push(had, new Problem("coupon_gone"));
        coupons.drop({{ ...coupon, id: "cpn_2" }});
        const offers = [coupons.offer.id];
        await coupons.claim("cpn_2").catch(() => {{}});
        offers.push(coupons.offer.id);
        await coupons.claim("cpn_1").catch(() => {{}});
        offers.push(coupons.offer);
        const reloaded = make();
        reloaded.reset([{{ ...coupon, id: "cpn_2" }}]);
        console.log(JSON.stringify([...offers, reloaded.offer]));
    """
    assert evaluate(node, program) == ["cpn_2", "cpn_1", None, None]
