// The lines about WebRTC's ways: UDP, TCP where there is no UDP, DTLS, data channels. A session for each protocol serves them.

import { Problem } from "../problem.js";
import { finding, whole_ms } from "./finding.js";
import { trySession } from "./trial.js";

const SLOW_MS = 300; // beyond it "less than a second behind" becomes doubtful
const IP = /^(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\])$/i;

/** {udp, tcp, dtls, channel}: a finding each. */
export async function mediaFindings() {
  if (!("RTCPeerConnection" in window)) return unseen(finding("skip", "doctor_udp_no_webrtc"));
  try {
    return findings(...(await Promise.all([trySession("udp"), trySession("tcp")])));
  } catch (error) {
    if (error instanceof Problem && error.code === "unreachable") return unseen(finding("skip", "doctor_needs_server"));
    const values = { detail: error instanceof Problem ? error.detail : String(error) };
    return unseen(finding("bad", "doctor_udp_refused", { values, fix: "doctor_udp_refused_fix" }), "doctor_needs_server");
  }
}

function unseen(udp, tcp = udp.what) {
  const needs = finding("skip", "doctor_needs_udp");
  return { udp, tcp: finding("skip", tcp), dtls: needs, channel: needs };
}

// DTLS and channels by the way that viewers' browsers take: UDP where it gets through.
function findings(udp, tcp) {
  const ways = { udp: udpFinding(udp, tcp.reached), tcp: tcpFinding(tcp, udp.reached) };
  const session = udp.reached ? udp : tcp;
  if (!session.reached) return { ...unseen(ways.udp), ...ways };
  if (!session.connected) {
    const dtls = finding("bad", "doctor_dtls_none", { fix: "doctor_dtls_none_fix" });
    return { ...unseen(ways.udp), ...ways, dtls };
  }
  return { ...ways, dtls: finding("ok", "doctor_dtls_ok"), channel: channelFinding(session.echo_ms) };
}

function channelFinding(echo_ms) {
  if (echo_ms === null) return finding("warn", "doctor_channel_none", { fix: "doctor_channel_none_fix" });
  return finding("ok", "doctor_channel_ok", { values: { ms: whole_ms(echo_ms) } });
}

function udpFinding({ candidates, reached }, byTcp) {
  const details = candidates.map(detail);
  if (!reached) return unreached(candidates, details, byTcp);
  const { values, what } = answered(candidates);
  if (values.ms > SLOW_MS) return finding("warn", "doctor_udp_slow", { values, details, fix: "doctor_udp_slow_fix" });
  return finding("ok", what, { values, details });
}

// It is the way of those who have no UDP: where UDP works, its absence is worth a word to whoever runs the server.
function tcpFinding({ candidates, reached }, byUdp) {
  const details = candidates.map(detail);
  const values = { port: candidates[0]?.port ?? "" };
  if (candidates.length === 0) return finding("warn", "doctor_tcp_not_offered", { fix: "doctor_tcp_not_offered_fix" });
  if (!reached) return finding(byUdp ? "warn" : "bad", "doctor_udp_none", { values, details, fix: "doctor_tcp_none_fix" });
  const { values: told, what } = answered(candidates);
  return finding("ok", what, { values: told, details });
}

function answered(candidates) {
  const found = candidates.filter(({ roundTrip_ms }) => roundTrip_ms !== null);
  const ms = whole_ms(Math.min(...found.map(({ roundTrip_ms }) => roundTrip_ms)));
  const values = { ms, answered: found.length, all: candidates.length };
  return { values, what: found.length < candidates.length ? "doctor_udp_some" : "doctor_udp_ok" };
}

function detail({ address, roundTrip_ms }) {
  if (roundTrip_ms === null) return ["doctor_silent", { address }];
  return ["doctor_answers", { address, ms: whole_ms(roundTrip_ms) }];
}

// A server that names other addresses than the one that serves this page doesn't know how it is reached.
function unreached(candidates, details, byTcp) {
  const host = location.hostname;
  const plain = host.replace(/^\[|\]$/g, "");
  const misnamed = IP.test(host) && candidates.every((each) => each.host !== plain);
  const values = { host: plain, port: candidates[0]?.port ?? "" };
  if (byTcp) return finding("warn", "doctor_udp_none_but_tcp", { values, details, fix: "doctor_udp_none_but_tcp_fix" });
  const fix = misnamed ? "doctor_udp_none_address_fix" : "doctor_udp_none_fix";
  return finding("bad", "doctor_udp_none", { values, details, fix });
}
