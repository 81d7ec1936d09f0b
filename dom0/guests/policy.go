package guests

import (
	"time"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypervisor/vmmapi"
)

// Reason codes beyond those of a vmm's Outcome.
const (
	codeVMMDied     = "vmm-died"     // the vmm ended without a word
	codeHostRestart = "host-restart" // the host went down under the guest
)

// Pauses of the restart policy.
const (
	firstPause = 1 * time.Second
	maxPause   = 5 * time.Minute
	// soundRun is how long a guest must run for its next crash to count as the
	// first again.
	soundRun = 10 * time.Minute
)

// crashed tells whether a guest that ended so was ended by a fault.
func crashed(code string) bool {
	switch code {
	case vmmapi.CodePowerOff, vmmapi.CodeReset, vmmapi.CodeKilled, codeHostRestart:
		return false
	}
	return true
}

// restarts tells whether the policy starts a guest again that ended so, without
// the admin's asking.
func restarts(p gozenv1.RestartPolicy, code string) bool {
	switch p {
	case gozenv1.RestartPolicy_RESTART_POLICY_ALWAYS:
		return true
	case gozenv1.RestartPolicy_RESTART_POLICY_ON_CRASH:
		return crashed(code)
	}
	return false
}

// backoff grows the pauses between restarts.
type backoff struct{ failures int }

// next returns the pause before the next start of a guest that ran for so long.
func (b *backoff) next(ran time.Duration) time.Duration {
	if ran >= soundRun {
		b.failures = 0
	}
	pause := maxPause
	if b.failures < 9 { // 2^9 s is above maxPause
		pause = min(firstPause<<b.failures, maxPause)
	}
	b.failures++
	return pause
}
