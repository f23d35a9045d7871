// What all lines together mean to a viewer and to a host.

const works = (finding) => finding.level === "ok" || finding.level === "warn";

/** {level, watching, hosting}: keys of words; `hosting` is null where there is nothing to say. */
export function verdict(found) {
  if (!works(found.server)) return { level: "bad", watching: "doctor_watch_unreachable", hosting: null };
  const connects = (works(found.udp) || works(found.tcp)) && works(found.dtls);
  const hosting = host(connects, found.secure);
  if (connects && works(found.codecs)) return { level: "ok", watching: "doctor_watch_live", hosting };
  if (works(found.hls)) return { level: "warn", watching: "doctor_watch_hls", hosting };
  return { level: "bad", watching: "doctor_watch_none", hosting };
}

function host(connects, secure) {
  if (!connects || secure.what === "doctor_secure_no_camera") return "doctor_host_obs";
  return secure.level === "ok" ? "doctor_host_ok" : "doctor_host_https";
}
