// One RTP stream in by UDP, as many viewers as ask for it by HTTP (an SDP offer in, the answer out).
//
// Pion v3 as its own examples use it: default codecs, default interceptors (NACK, RTCP reports,
// transport-cc), a TrackLocalStaticRTP that all viewers share. Loopback candidates are all that is set.
// Prints one line of JSON with its addresses when it is ready.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v3"
)

const (
	loopback         = "127.0.0.1:0"
	receiveBuffer    = 1 << 20 // bytes: a burst of frames while the process waits for a core
	longestDatagram  = 1600
	longestOffer     = 64 << 10
	longestRTCP      = 1500
	videoClockRate   = 90000
	constrainedBasic = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
)

func main() {
	input, err := net.ListenPacket("udp4", loopback)
	must(err)
	must(input.(*net.UDPConn).SetReadBuffer(receiveBuffer))
	web, err := net.Listen("tcp4", loopback)
	must(err)
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{
		MimeType:    webrtc.MimeTypeH264,
		ClockRate:   videoClockRate,
		SDPFmtpLine: constrainedBasic,
	}, "video", "bench")
	must(err)
	go forward(input, track)
	http.Handle("/whep", viewers{newAPI(), track})
	must(json.NewEncoder(os.Stdout).Encode(map[string]string{
		"http": "http://" + web.Addr().String(),
		"rtp":  input.LocalAddr().String(),
	}))
	log.Fatal(http.Serve(web, nil))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// newAPI is what webrtc.NewPeerConnection builds by itself, but for loopback.
func newAPI() *webrtc.API {
	codecs := &webrtc.MediaEngine{}
	must(codecs.RegisterDefaultCodecs())
	interceptors := &interceptor.Registry{}
	must(webrtc.RegisterDefaultInterceptors(codecs, interceptors))
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetIPFilter(func(address net.IP) bool { return address.IsLoopback() })
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(codecs),
		webrtc.WithInterceptorRegistry(interceptors),
		webrtc.WithSettingEngine(settings),
	)
}

// forward writes each datagram to all viewers.
func forward(input net.PacketConn, track *webrtc.TrackLocalStaticRTP) {
	datagram := make([]byte, longestDatagram)
	for {
		length, _, err := input.ReadFrom(datagram)
		must(err)
		if _, err := track.Write(datagram[:length]); err != nil {
			log.Print(err)
		}
	}
}

type viewers struct {
	api   *webrtc.API
	track *webrtc.TrackLocalStaticRTP
}

func (v viewers) ServeHTTP(reply http.ResponseWriter, request *http.Request) {
	offer, err := io.ReadAll(io.LimitReader(request.Body, longestOffer))
	if err == nil {
		var answer string
		if answer, err = v.join(string(offer)); err == nil {
			reply.Header().Set("Content-Type", "application/sdp")
			reply.Header().Set("Location", "/whep/1")
			reply.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(reply, answer)
			return
		}
	}
	http.Error(reply, err.Error(), http.StatusBadRequest)
}

// join answers an offer, with all candidates in the answer.
func (v viewers) join(offer string) (string, error) {
	peer, err := v.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	sender, err := peer.AddTrack(v.track)
	if err != nil {
		return "", err
	}
	go readRTCP(sender)
	remote := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}
	if err := peer.SetRemoteDescription(remote); err != nil {
		return "", err
	}
	answer, err := peer.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(peer)
	if err := peer.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-gathered
	return peer.LocalDescription().SDP, nil
}

// readRTCP reads what viewers report: interceptors see it only as it is read.
func readRTCP(sender *webrtc.RTPSender) {
	report := make([]byte, longestRTCP)
	for {
		if _, _, err := sender.Read(report); err != nil {
			return
		}
	}
}
