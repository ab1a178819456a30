package stager

import (
	"fmt"
	"strings"
)

// Step, Info, Warn and Error print in the style of CF's buildpacks: tools and people look for "-----> ".

// Step begins a step.
func (s *Stager) Step(format string, args ...any) { s.say("----->", format, args...) }

// Info tells more of the step.
func (s *Stager) Info(format string, args ...any) { s.say("      ", format, args...) }

// Warn tells what may go wrong later.
func (s *Stager) Warn(format string, args ...any) {
	s.say("       \x1b[31;1m**WARNING**\x1b[0m", format, args...)
}

// Error tells why the staging fails.
func (s *Stager) Error(format string, args ...any) {
	s.say("       \x1b[31;1m**ERROR**\x1b[0m", format, args...)
}

func (s *Stager) say(head, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n       ")
	_, _ = fmt.Fprintf(s.Log, "%s %s\n", head, text)
}
