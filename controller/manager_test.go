package controller

import (
	"testing"
	"time"

	"k8s.io/client-go/tools/leaderelection"
)

func TestALeaderGivesUpBeforeAnotherOneMayLead(t *testing.T) {
	for within := 3 * time.Second; within <= time.Minute; within += 500 * time.Millisecond {
		lease, renew, retry := electionTimes(within)
		if lease.Truncate(time.Second) != lease || renew >= lease || renew <= time.Duration(leaderelection.JitterFactor*float64(retry)) {
			t.Errorf("%s: lease %s, renewed within %s, every %s", within, lease, renew, retry)
		}
		if most := lease + time.Duration((1+leaderelection.JitterFactor)*float64(retry)); most > within {
			t.Errorf("%s: another one takes over after %s", within, most)
		}
	}
}
