//go:build tools

// Package tools names the program of h2spec, so that `go mod tidy` keeps what it needs.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
