package manifest

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

var (
	errUnit      = errors.New("must use a supported unit: B, K, KB, M, MB, G, GB, T, or TB")
	errNotNumber = errors.New("is not a number")

	quantity = regexp.MustCompile(`(?i)^(-?\d+(?:\.\d+)?)(B|[KMGT](?:i?B)?)$`)
	number   = regexp.MustCompile(`^-?\d+`)
)

// parseBytes reads a quantity such as 512M or 1.5GB. K, KB and KiB all mean 1024.
func parseBytes(s string) (int64, error) {
	s = strings.TrimSpace(s)
	m := quantity.FindStringSubmatch(s)
	if m == nil {
		if number.MatchString(s) {
			return 0, errUnit
		}
		return 0, errNotNumber
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, errNotNumber
	}
	n *= math.Pow(1024, float64(strings.IndexByte("BKMGT", strings.ToUpper(m[2])[0])))
	if math.Abs(n) >= math.MaxInt64 {
		return 0, errNotNumber
	}
	return int64(n), nil
}

// formatBytes says a quantity with the largest unit that needs no fraction.
func formatBytes(n int64) string {
	units := "BKMGT"
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%d%c", n, units[i])
}

// formatRate says a log rate limit; -1 stays.
func formatRate(n int64) string {
	if n == -1 || n == 0 {
		return strconv.FormatInt(n, 10)
	}
	return formatBytes(n)
}
