// Full screen and picture in picture, with the names Safari has for them.

/** Wire the buttons; one whose act the browser can't do is hidden. */
export function startScreen({ stage, video, fullscreen, pip }) {
  const canStage = document.fullscreenEnabled && stage.requestFullscreen;
  const canVideo = "webkitEnterFullscreen" in video; // iPhone: only the video itself
  fullscreen.hidden = !canStage && !canVideo;
  fullscreen.addEventListener("click", () => {
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (canStage) void stage.requestFullscreen();
    else video.webkitEnterFullscreen();
  });
  pip.hidden = !document.pictureInPictureEnabled && !video.webkitSupportsPresentationMode?.("picture-in-picture");
  pip.addEventListener("click", () => {
    if (document.pictureInPictureElement) void document.exitPictureInPicture();
    else if (video.requestPictureInPicture) void video.requestPictureInPicture().catch(() => {}); // no picture yet
    else video.webkitSetPresentationMode("picture-in-picture");
  });
}
