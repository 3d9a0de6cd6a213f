//go:build tools

// Package tools names the program of ghz, so that `go mod tidy` keeps what it needs. It is a module
// of its own because ghz needs an old gRPC.
package tools

import _ "github.com/bojand/ghz/cmd/ghz"
