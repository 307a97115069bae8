package donotexposeadmissioncontrollerwebhookservices_test

import (
	"testing"

	"github.com/warder-dev/warder/library/donotexposeadmissioncontrollerwebhookservices"
	"github.com/warder-dev/warder/sdk/sdktest"
)

func TestCases(t *testing.T) {
	sdktest.Cases(t, donotexposeadmissioncontrollerwebhookservices.Policy(), "testdata")
}
