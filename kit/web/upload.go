package web

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
)

// Upload is a multipart body, read as it comes.
type Upload struct{ parts *multipart.Reader }

// NewUpload reads the body of a request, of which limit bytes are taken. The error says that it has no parts.
func NewUpload(w http.ResponseWriter, r *http.Request, limit int64) (*Upload, error) {
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	parts, err := r.MultipartReader()
	return &Upload{parts}, err
}

// Next is the next part; io.EOF comes after the last. A *http.MaxBytesError says that the body is larger than the limit.
func (u *Upload) Next() (*Part, error) {
	p, err := u.parts.NextPart()
	return &Part{Part: p}, err
}

// Part is one part of an Upload.
type Part struct {
	*multipart.Part
	Count  int64 // bytes that were read
	Broken error // that the client, not the content, was what failed
}

// Read is an io.Reader's.
func (p *Part) Read(b []byte) (int, error) {
	n, err := p.Part.Read(b)
	p.Count += int64(n)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		p.Broken = err
	}
	return n, err
}
