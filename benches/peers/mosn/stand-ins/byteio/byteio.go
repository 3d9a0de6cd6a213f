// Package byteio stands in for vimagination.zapto.org/byteio, which cannot be fetched: numbers in
// network order, as much of them as MOSN's seata filter uses.
package byteio

import (
	"encoding/binary"
	"io"
)

// BigEndianWriter writes numbers, the most significant byte first.
type BigEndianWriter struct {
	io.Writer
}

// WriteUint32 writes four bytes.
func (w *BigEndianWriter) WriteUint32(number uint32) (int, error) {
	var bytes [4]byte
	binary.BigEndian.PutUint32(bytes[:], number)
	return w.Write(bytes[:])
}

// BigEndianReader reads what a BigEndianWriter wrote.
type BigEndianReader struct {
	io.Reader
}

// ReadUint32 reads four bytes.
func (r *BigEndianReader) ReadUint32() (uint32, int, error) {
	var bytes [4]byte
	read, err := io.ReadFull(r.Reader, bytes[:])
	return binary.BigEndian.Uint32(bytes[:]), read, err
}
