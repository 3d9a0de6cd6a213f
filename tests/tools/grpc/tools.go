//go:build tools

// Package tools names the programs of gRPC in Go, so that `go mod tidy` keeps what they need.
package tools

import (
	_ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/server"
)
