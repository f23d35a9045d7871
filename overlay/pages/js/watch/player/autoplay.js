// Starting a video where browsers forbid it: sound wants a tap first, and in low-power mode so does the picture.

/** Play; muted if the browser refuses sound. False if it refuses even that: then only a tap starts it. */
export async function play(video) {
  try {
    await video.play();
    return true;
  } catch (error) {
    if (error.name === "AbortError") return true; // another source came meanwhile, and its play() counts
    if (error.name !== "NotAllowedError" || video.muted) return false;
    video.muted = true;
    return play(video);
  }
}
