// The few things the pages read from or change in session descriptions (RFC 8866).

/** Ask for stereo Opus: browsers decode to mono unless the offer says `stereo=1` (RFC 7587 §6.1). */
export function withStereo(sdp) {
  const opus = /^a=rtpmap:(\d+) opus\/48000\/2\r?$/im.exec(sdp)?.[1];
  if (!opus) return sdp;
  const fmtp = new RegExp(`^(a=fmtp:${opus} )([^\\r\\n]*)`, "m");
  if (!fmtp.test(sdp)) {
    return sdp.replace(new RegExp(`^(a=rtpmap:${opus} [^\\r\\n]*)(\\r?\\n)`, "m"), `$1$2a=fmtp:${opus} stereo=1$2`);
  }
  return sdp.replace(fmtp, (line, head, parameters) =>
    /(^|;)\s*stereo=/.test(parameters) ? line : `${head}${parameters};stereo=1`,
  );
}

/** Whether the answer took the m-line of `kind` (a refused one has port 0, RFC 3264 §6). */
export function carries(answer, kind) {
  return new RegExp(`^m=${kind} [1-9]`, "m").test(answer);
}
