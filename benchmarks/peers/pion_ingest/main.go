// As many publishers as ask for it by HTTP (an SDP offer in, the answer out); all their tracks are read.
//
// Pion v3 as its own examples use it: default codecs, default interceptors (NACK, RTCP reports,
// transport-cc). Loopback candidates are all that is set. Prints one line of JSON with its address when it
// is ready; GET /count tells how many RTP packets have been read.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v3"
)

const (
	loopback     = "127.0.0.1:0"
	longestOffer = 64 << 10
	longestRTP   = 1600
)

var count atomic.Int64

func main() {
	web, err := net.Listen("tcp4", loopback)
	must(err)
	http.Handle("/whip", publishers{newAPI()})
	http.HandleFunc("/count", func(reply http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(reply, count.Load())
	})
	must(json.NewEncoder(os.Stdout).Encode(map[string]string{
		"http": "http://" + web.Addr().String(),
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

type publishers struct {
	api *webrtc.API
}

func (p publishers) ServeHTTP(reply http.ResponseWriter, request *http.Request) {
	offer, err := io.ReadAll(io.LimitReader(request.Body, longestOffer))
	if err == nil {
		var answer string
		if answer, err = p.join(string(offer)); err == nil {
			reply.Header().Set("Content-Type", "application/sdp")
			reply.Header().Set("Location", "/whip/1")
			reply.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(reply, answer)
			return
		}
	}
	http.Error(reply, err.Error(), http.StatusBadRequest)
}

// join answers an offer, with all candidates in the answer.
func (p publishers) join(offer string) (string, error) {
	peer, err := p.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	peer.OnTrack(read)
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

// read takes every packet of a track; interceptors see it only as it is read.
func read(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	go func() {
		for {
			if _, _, err := receiver.ReadRTCP(); err != nil {
				return
			}
		}
	}()
	packet := make([]byte, longestRTP)
	for {
		if _, _, err := track.Read(packet); err != nil {
			return
		}
		count.Add(1)
	}
}
