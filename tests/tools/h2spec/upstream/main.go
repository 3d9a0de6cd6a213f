// upstream answers every request with the same text, on one port in HTTP/1.1 and in HTTP/2 without
// TLS (prior knowledge), and tells in the field x-request-bytes how long the body was that it was
// sent. It ends when its standard input ends.
//
//	upstream 127.0.0.1:7000
package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: upstream HOST:PORT")
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	// Longer than the small windows that are tried, shorter than the first one of a connection.
	text := strings.Repeat("answer\n", 600)
	answer := func(w http.ResponseWriter, r *http.Request) {
		length, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Request-Bytes", strconv.FormatInt(length, 10))
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, text)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log.Fatal(http.Serve(listener, h2c.NewHandler(http.HandlerFunc(answer), &http2.Server{})))
}
