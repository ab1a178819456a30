// Package binary is the buildpack binary_buildpack: for apps that were built before the push.
//
// It promises what CF's does: it is never detected, changes nothing, and leaves the start command to -c or a Procfile; an
// app without either stages, and says at its start what is missing.
package binary

import "ingot/buildpacks/stager"

// Detect never claims an app.
func Detect(*stager.Stager) (string, bool) { return "", false }

// Supply greets.
func Supply(s *stager.Stager) error { return s.Begin() }

// Finalize lets the buildpacks before it take effect.
func Finalize(s *stager.Stager) error { return s.Finish() }

// Release gives the process types for apps that name none.
func Release(*stager.Stager) map[string]string {
	return map[string]string{"web": ">&2 echo Error: no start command specified during staging or launch && exit 1"}
}
