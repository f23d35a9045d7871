// The glow behind the stage: the picture itself, a few pixels wide, drawn now and then and stretched over the page.

const EVERY_MS = 500;

/** Paint `video` on `canvas` while `playing()`; the last one stays. Nothing for those who want less motion. */
export function startAmbient(video, canvas, playing) {
  const pen = canvas.getContext("2d", { alpha: false });
  pen.imageSmoothingQuality = "high"; // each of the few pixels a mean of its part of the picture
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  setInterval(() => {
    if (!playing() || document.hidden || still.matches || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    pen.drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.dataset.lit = "";
  }, EVERY_MS);
}
