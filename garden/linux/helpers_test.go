package linux

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestMissingHelperIsOneClearError(t *testing.T) {
	if _, err := extract(fstest.MapFS{}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "tools/build.sh") {
		t.Error(err)
	}
}
