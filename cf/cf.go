// Package cf holds the words that two or more rooms share: nouns, typed ids,
// states, errors, and the doors (interfaces) between the rooms.
//
// It promises to do no I/O and to import nothing but the standard library.
// It will not hold a noun or a door that only one room uses.
package cf

import (
	"crypto/rand"
	"encoding/hex"
)

// Typed ids. All are opaque strings to every room but their owner.
type (
	// AppID is the guid of an app; it is also the log source id of all its processes.
	AppID string
	// ProcessID is Diego's process guid: "<process guid>-<version>" (systems.md §9),
	// so that a changed process never reuses the LRP of the old one.
	ProcessID string
	// InstanceID is an instance guid, in CF's form 8-4-4-4-4.
	InstanceID string
	// TaskID is the guid of a Diego task (a staging, or a one-off task of an app).
	TaskID string
	// CellID names a cell; it is stable over restarts.
	CellID string
	// UserID is the guid of a user in UAA.
	UserID string
)

// NewGUID returns a random RFC 4122 version 4 UUID in its text form.
func NewGUID() string {
	b := random()
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[0:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:32]
}

// NewInstanceID returns a random instance guid. Its last group has four digits,
// as in Diego: clients match ^[[:alnum:]]{8}(-[[:alnum:]]{4}){4}$.
func NewInstanceID() InstanceID {
	b := random()
	h := hex.EncodeToString(b[:12])
	return InstanceID(h[0:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:24])
}

func random() (b [16]byte) {
	if _, err := rand.Read(b[:]); err != nil {
		panic("cf: no randomness: " + err.Error()) // the kernel's generator cannot fail on Linux
	}
	return b
}
