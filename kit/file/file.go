// Package file writes files that must survive a kill and a power cut.
//
// It promises that a file holds the old bytes or the new ones, never a part, and that the new ones are durable when
// Replace returned. It will not lock: a file has one writer.
package file

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace writes data to path by way of path.new, with exactly that mode.
func Replace(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path)) // the new name lasts once its folder is synced
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
