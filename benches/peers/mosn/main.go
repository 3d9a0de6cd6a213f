//go:build tools

// Package peers names the program of MOSN, so that `go mod tidy` keeps what it needs.
package peers

import _ "mosn.io/mosn/cmd/mosn/main"
