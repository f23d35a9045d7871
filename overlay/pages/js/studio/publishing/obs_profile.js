// An OBS profile for this room, made in the browser: the stream key goes nowhere but into the file.

import { zip } from "./zip.js";

const VIDEO_KBPS = 3000;

/** A ZIP whose folder OBS takes by Profile → Import. */
export function obsProfile({ room, server, key, configurationUrl }) {
  const folder = `Hawker ${room}`;
  const service = {
    type: "rtmp_custom",
    settings: { server, key, use_auth: false, bwtest: false, multitrack_video_configuration_url: configurationUrl },
  };
  const encoder = {
    rate_control: "CBR",
    bitrate: VIDEO_KBPS,
    keyint_sec: 2,
    preset: "veryfast",
    profile: "main",
    tune: "zerolatency",
    bf: 0,
  };
  const ini = [
    "[General]",
    `Name=${folder}`,
    "",
    "[Output]",
    "Mode=Advanced",
    "Reconnect=true",
    "RetryDelay=1",
    "MaxRetries=60",
    "",
    "[AdvOut]",
    "Encoder=obs_x264",
    "AudioEncoder=ffmpeg_aac",
    "TrackIndex=1",
    "ApplyServiceSettings=false",
    "Rescale=false",
    "Track1Bitrate=160",
    "",
    "[Video]",
    "BaseCX=1920",
    "BaseCY=1080",
    "OutputCX=1280",
    "OutputCY=720",
    "FPSType=0",
    "FPSCommon=30",
    "ColorFormat=NV12",
    "",
    "[Audio]",
    "SampleRate=48000",
    "ChannelSetup=Stereo",
    "",
  ];
  return zip({
    [`${folder}/basic.ini`]: ini.join("\n"),
    [`${folder}/service.json`]: JSON.stringify(service, null, 2),
    [`${folder}/streamEncoder.json`]: JSON.stringify(encoder, null, 2),
  });
}
