// When a peer connection is lost. "disconnected" often heals by itself (Wi-Fi to mobile), so it gets a while.

const DISCONNECTED_MS = 3000;

/**
 * Resolves with "failed", "disconnected" or "closed" (the server ended it) once the connection is gone for good.
 * Ask when the answer is set: until then each m-line has a transport of its own, and bundling closes all but one.
 */
export function connectionLost(pc) {
  return new Promise((resolve) => {
    let timer = null;
    const look = () => {
      clearTimeout(timer);
      const state = pc.connectionState;
      if (state === "failed" || state === "closed") resolve(state);
      if (state === "disconnected") timer = setTimeout(() => resolve("disconnected"), DISCONNECTED_MS);
    };
    pc.addEventListener("connectionstatechange", look);

    // A server that says goodbye (DTLS close_notify) closes the transport; `connectionState` lags seconds behind.
    const { sender, receiver } = pc.getTransceivers()[0];
    const transport = receiver.transport ?? sender.transport;
    transport?.addEventListener("statechange", () => {
      if (transport.state === "closed" || transport.state === "failed") resolve(transport.state);
    });
  });
}
