// Sound: browsers start videos muted, so a big button asks for the tap that they want; a small one stays.

/** unmute: the big button, shown while the browser, not the viewer, keeps the video muted. onToggle(muted). */
export function startSound(video, { unmute, toggle, onToggle }) {
  let wanted = true;
  const show = () => {
    unmute.hidden = !video.muted || !wanted;
    toggle.setAttribute("aria-pressed", String(!video.muted));
    onToggle(video.muted);
  };
  const set = (muted) => {
    wanted = !muted;
    video.muted = muted;
    if (!muted && video.paused) void video.play().catch(() => {}); // no source yet: it starts by itself later
    show();
  };
  unmute.addEventListener("click", () => {
    set(false);
    toggle.focus({ preventScroll: true });
  });
  video.addEventListener("click", () => unmute.hidden || unmute.click());
  toggle.addEventListener("click", () => set(!video.muted));
  video.addEventListener("volumechange", show);
  show();
}
