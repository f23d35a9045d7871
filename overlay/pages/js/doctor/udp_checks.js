// The lines about WebRTC's way: UDP, DTLS, data channels. One session serves them all.

import { Problem } from "../problem.js";
import { finding, whole_ms } from "./finding.js";
import { tryUdp } from "./udp_session.js";

const SLOW_MS = 300; // beyond it "less than a second behind" becomes doubtful
const IPV4 = /^\d+\.\d+\.\d+\.\d+$/;

/** {udp, dtls, channel}: a finding each. */
export async function udpFindings() {
  if (!("RTCPeerConnection" in window)) return unseen(finding("skip", "doctor_udp_no_webrtc"));
  try {
    return findings(await tryUdp());
  } catch (error) {
    if (error instanceof Problem && error.code === "unreachable") return unseen(finding("skip", "doctor_needs_server"));
    const values = { detail: error instanceof Problem ? error.detail : String(error) };
    return unseen(finding("bad", "doctor_udp_refused", { values, fix: "doctor_udp_refused_fix" }));
  }
}

function unseen(udp) {
  const needs = finding("skip", "doctor_needs_udp");
  return { udp, dtls: needs, channel: needs };
}

function findings(session) {
  const udp = udpFinding(session);
  if (!session.reached) return unseen(udp);
  if (!session.connected) {
    const dtls = finding("bad", "doctor_dtls_none", { fix: "doctor_dtls_none_fix" });
    return { ...unseen(udp), dtls };
  }
  return { udp, dtls: finding("ok", "doctor_dtls_ok"), channel: channelFinding(session.echo_ms) };
}

function channelFinding(echo_ms) {
  if (echo_ms === null) return finding("warn", "doctor_channel_none", { fix: "doctor_channel_none_fix" });
  return finding("ok", "doctor_channel_ok", { values: { ms: whole_ms(echo_ms) } });
}

function udpFinding({ candidates, reached }) {
  const details = candidates.map(detail);
  if (!reached) return unreached(candidates, details);
  const answered = candidates.filter(({ roundTrip_ms }) => roundTrip_ms !== null);
  const ms = whole_ms(Math.min(...answered.map(({ roundTrip_ms }) => roundTrip_ms)));
  const values = { ms, answered: answered.length, all: candidates.length };
  if (ms > SLOW_MS) return finding("warn", "doctor_udp_slow", { values, details, fix: "doctor_udp_slow_fix" });
  const what = answered.length < candidates.length ? "doctor_udp_some" : "doctor_udp_ok";
  return finding("ok", what, { values, details });
}

function detail({ address, roundTrip_ms }) {
  if (roundTrip_ms === null) return ["doctor_silent", { address }];
  return ["doctor_answers", { address, ms: whole_ms(roundTrip_ms) }];
}

// A server that names other addresses than the one that serves this page doesn't know how it is reached.
function unreached(candidates, details) {
  const [hosts, ports] = [0, 1].map((part) => candidates.map(({ address }) => address.split(":")[part]));
  const host = location.hostname;
  const misnamed = IPV4.test(host) && !hosts.includes(host);
  const fix = misnamed ? "doctor_udp_none_address_fix" : "doctor_udp_none_fix";
  return finding("bad", "doctor_udp_none", { values: { host, port: ports[0] ?? "" }, details, fix });
}
