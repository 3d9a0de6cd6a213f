// Package memio stands in for vimagination.zapto.org/memio, which cannot be fetched: MOSN's list
// of modules names it, and nothing uses it.
package memio
