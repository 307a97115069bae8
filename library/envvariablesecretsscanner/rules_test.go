package envvariablesecretsscanner

import (
	"slices"
	"strings"
	"testing"
)

// Each rule finds an example, which is no secret of anybody, and none that is a
// character short of one. Examples are made here, so that scanners of sources
// find none.
func TestEachRuleFindsItsKind(t *testing.T) {
	x := func(n int) string { return strings.Repeat("1", n) }
	id := x(8) + "-" + x(4) + "-" + x(4) + "-" + x(4) + "-" + x(12)
	pem := func(kind string) string { return "-----BEGIN " + kind + " PRIVATE KEY" }
	tests := map[string][2]string{ // found, not found
		"RSA private key":                                        {pem("RSA") + "-----", pem("RSA") + "----"},
		"SSH (DSA) private key":                                  {pem("DSA") + "-----", pem("RSA") + "-----"},
		"SSH (EC) private key":                                   {pem("EC") + "-----", pem("ec") + "-----"},
		"PGP private key block":                                  {pem("PGP") + " BLOCK-----", pem("PGP") + "-----"},
		"Amazon AWS Access Key ID":                               {"AKIA" + x(16), "AKIA" + x(15)},
		"Amazon MWS Auth Token":                                  {"amzn.mws." + id, "amzn.mws." + id[1:]},
		"Google API Key":                                         {"AIza" + x(35), "AIza" + x(34)},
		"Google Cloud Platform OAuth":                            {"1-" + x(32) + ".apps.googleusercontent.com", x(32) + ".apps.googleusercontent.com"},
		"Google (GCP) Service-account":                           {`{"type": "service_account"}`, `{"type": "account"}`},
		"Google OAuth Access Token":                              {"ya29.a", "ya29."},
		"Heroku API Key":                                         {"Heroku: " + id, "Heroku" + id},
		"Grafana API Key":                                        {"eyJrIjoi" + x(70), "eyJrIjoi" + x(69)},
		"Grafana Cloud API Token":                                {"glc_" + x(32), "glc_" + x(31)},
		"Grafana Service Account Token":                          {"glsa_" + x(32) + "_" + x(8), "glsa_" + x(32) + "_" + x(7)},
		"New Relic Synthetics Private Location":                  {"MINION_private_location_key", "minion"},
		"New Relic Insights Key (specific)":                      {"insights_key=" + x(32), "insights_key=" + x(41)},
		"New Relic Insights Key (vague)":                         {"query key: " + x(40), "query key: " + x(31)},
		"New Relic License Key":                                  {"LICENSE_KEY=" + x(47), "LICENSE_KEY=" + x(48)},
		"New Relic Internal API Key":                             {"nr-internal-api-key", "nr-internal-key"},
		"New Relic HTTP Auth Headers and API Key":                {"X-Api-Key: " + x(32), "X-Api-Key: " + x(31)},
		"New Relic API Key Service Key (new format)":             {"NRAK-" + x(27), "NRAK-" + x(26)},
		"New Relic APM License Key (new format)":                 {x(36) + "NRAL", x(35) + "NRAL"},
		"New Relic APM License Key (new format, region-aware)":   {"eu01xx" + x(30) + "NRAL", "eu01xx" + x(29) + "NRAL"},
		"New Relic REST API Key (new format)":                    {"NRRA-" + x(42), "NRRA-" + x(41)},
		"New Relic REST API Key (another new-style format)":      {"NRRA-" + x(21), "NRRA-" + x(20)},
		"New Relic Admin API Key (new format)":                   {"NRAA-" + x(27), "NRAA-" + x(26)},
		"New Relic Insights Insert Key (new format)":             {"NRII-" + x(32), "NRII-" + x(31)},
		"New Relic Insights Query Key (new format)":              {"NRIQ-" + x(32), "NRIQ-" + x(31)},
		"New Relic Synthetics Private Location Key (new format)": {"NRSP-us01" + x(31), "NRSP-us01" + x(30)},
		"New Relic Pixie API Key":                                {"px-api-" + id, "px-api-" + id[1:]},
		"New Relic Pixie Deploy Key":                             {"px-dep-" + id, "px-dep-" + id[1:]},
		"New Relic Account IDs in URL":                           {"/accounts/1234567890/x", "/accounts/12345678901/x"},
		"New Relic Partner & REST API Key":                       {"=" + x(47) + ";", x(47) + ";"},
		"New Relic Mobile Application Token":                     {"'" + x(42) + "'", "'" + x(43) + "'"},
		"Slack Token":                                            {"xoxb-" + x(12) + "-" + x(12) + "-" + x(12) + "-" + x(32), "xoxz-" + x(12) + "-" + x(12) + "-" + x(12) + "-" + x(32)},
		"Slack Webhook":                                          {"https://hooks.slack.com/services/T" + x(8) + "/B" + x(8) + "/" + x(24), "https://hooks.slack.com/services/T" + x(8)},
		"Facebook Access Token":                                  {"EAACEdEose0cBA1", "EAACEdEose0cBA"},
		"Facebook OAuth":                                         {"facebook: " + x(32), "facebook: " + x(31)},
		"GitHub":                                                 {"access_token=" + x(35), "github: " + x(34)},
		"Generic API Key":                                        {"API_KEY=" + x(16), "API_KEY=" + x(15)},
		"Generic Account API Key":                                {"account-api: " + x(16), "account-api: " + x(15)},
		"Generic Secret":                                         {"secret=" + x(16), "secret=" + x(15)},
		"MailChimp API Key":                                      {x(32) + "-us1", x(31) + "-us1"},
		"Mailgun API Key":                                        {"key-" + x(32), "key-" + x(31)},
		"Credentials in absolute URL":                            {"ftp://me:p%20w@10.0.0.1/x", "https://me@example.com/"},
		"PayPal Braintree Access Token":                          {"access_token$production$" + x(16) + "$" + x(32), "access_token$sandbox$" + x(16) + "$" + x(32)},
		"Picatic API Key":                                        {"sk_live_" + x(32), "sk_live_" + x(31)},
		"Stripe API Key":                                         {"sk_live_" + x(24), "sk_live_" + x(23)},
		"Stripe Restricted API Key":                              {"rk_live_" + x(24), "rk_live_" + x(23)},
		"Square Access Token":                                    {"sq0atp-" + x(22), "sq0atp-" + x(21)},
		"Square OAuth Secret":                                    {"sq0csp-" + x(43), "sq0csp-" + x(42)},
		"Twilio API Key":                                         {"SK" + x(32), "sk" + x(32)},
		"Twitter Access Token":                                   {"twitter: 12-" + x(40), "twitter: 12-" + x(39)},
		"Twitter OAuth":                                          {"twitter: " + x(35), "twitter: " + x(34)},
		"Email address":                                          {"write to a.b+c@example.org, please", "a@example.test"},
		"Account ID":                                             {"ACCOUNT_ID=12", "ACCOUNT_ID=" + x(11)},
		"Salary Information":                                     {"pay amount: 5", "pay less"},
	}
	rules := newRules()
	if len(rules) != len(tests) {
		t.Errorf("%d rules, %d tests", len(rules), len(tests))
	}
	s := Settings{rules: rules}
	for _, r := range rules {
		test, ok := tests[r.name]
		if !ok {
			t.Errorf("%s: no test", r.name)
			continue
		}
		if have := s.scan(test[0]); !slices.Contains(have, r.name) {
			t.Errorf("%s: not found in %q, but %q", r.name, test[0], have)
		}
		if have := s.scan(test[1]); slices.Contains(have, r.name) {
			t.Errorf("%s: found in %q", r.name, test[1])
		}
	}
}

// A hint that is missing from what a rule matches would hide secrets.
func FuzzHintsHideNothing(f *testing.F) {
	f.Add("API_KEY=" + strings.Repeat("1", 20) + "\nİ secret: abcdefghijklmnop@b.com ")
	f.Add("ſecret=" + strings.Repeat("a", 16)) // matches without regard to case, by Unicode
	f.Add("\u212aey-" + strings.Repeat("a", 32))
	rules := newRules()
	f.Fuzz(func(t *testing.T, text string) {
		lower := fold(text)
		for _, r := range rules {
			if r.matches(text) && !r.possible(lower) {
				t.Errorf("%s matches %q without a hint", r.name, text)
			}
		}
	})
}
