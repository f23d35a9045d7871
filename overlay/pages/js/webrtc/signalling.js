// The HTTP half of WHIP (RFC 9725) and WHEP: one POST of an offer makes a session, one DELETE ends it.

import { Problem, bearer, request } from "../problem.js";

/** POST `offer`; returns {answer, resource}: the answer's SDP and the session's absolute URL. */
export async function postOffer(url, offer, token, signal) {
  const response = await request(url, {
    method: "POST",
    headers: { "Content-Type": "application/sdp", Accept: "application/sdp", ...bearer(token) },
    body: offer,
    signal,
  });
  const answer = await response.text();
  const location = response.headers.get("Location");
  return { answer, resource: location && new URL(location, response.url).href };
}

/**
 * End a session. Survives the page being closed. Returns true if the server still had it, false if it
 * had ended it before, null if no answer came.
 */
export async function deleteSession(resource, token) {
  try {
    await request(resource, { method: "DELETE", headers: bearer(token), keepalive: true });
    return true;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return error.status === 0 ? null : false;
  }
}
