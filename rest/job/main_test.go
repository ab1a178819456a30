package job_test

import (
	"os"
	"testing"

	"ingot/kit/sql/sqltest"
)

func TestMain(m *testing.M) { os.Exit(sqltest.Main(m)) }
