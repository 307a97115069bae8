package envvariablesecretsscanner

import (
	"regexp"
	"strings"
	"sync"
)

// rule finds one kind of secret in a line.
type rule struct {
	name string
	// hints are texts, in lower case, of which one is in every line that the
	// expression can match. Most lines have none, and expressions are slow.
	hints   []string
	matches func(line string) bool
}

// Parts of expressions.
const (
	gap  = `[\s[:punct:]]{1,4}` // between a word and the secret that it announces
	opt  = `[\s[:punct:]]?`     // inside of a word of two
	uuid = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
	key  = `[0-9a-z_-]{16}`
	atom = "[a-z0-9!#$%&'*+/=?^_`{|}~-]+"              // of the local part of an address
	user = `(?:[a-z0-9$_.+!*'(),;?&=-]|%[0-9a-f]{2})+` // user or password in a URL
	host = `(?:(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z][a-z0-9-]*[a-z0-9]|\d{1,3}(?:\.\d{1,3}){3})`
)

// newRules returns what is looked for. Kinds and names are those of the default
// rules of Rusty Hog, the scanner of the Kubewarden policy; several names there
// for one form (of keys of Google's services) are one here. Of a secret its
// least length is asked for: where it ends does not matter.
// Source: https://github.com/newrelic/rusty-hog, rusty-hog-scanner.
func newRules() []rule {
	return append(append(cloudRules(), newRelicRules()...), otherRules()...)
}

func of(name, hints, expression string) rule {
	compiled := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
	return rule{name, strings.Split(hints, " "), func(line string) bool { return compiled().MatchString(line) }}
}

func cloudRules() []rule {
	return []rule{
		of("RSA private key", "rsa", `-----BEGIN RSA PRIVATE KEY-----`),
		of("SSH (DSA) private key", "dsa", `-----BEGIN DSA PRIVATE KEY-----`),
		of("SSH (EC) private key", "ec", `-----BEGIN EC PRIVATE KEY-----`),
		of("PGP private key block", "pgp", `-----BEGIN PGP PRIVATE KEY BLOCK-----`),
		of("Amazon AWS Access Key ID", "akia", `AKIA[0-9A-Z]{16}`),
		of("Amazon MWS Auth Token", "amzn.mws.", `amzn\.mws\.`+uuid),
		of("Google API Key", "aiza", `AIza[0-9A-Za-z_-]{35}`),
		of("Google Cloud Platform OAuth", ".apps.googleusercontent.com", `(?i)[0-9]-[0-9a-z_]{32}\.apps\.googleusercontent\.com`),
		of("Google (GCP) Service-account", "service_account", `(?i)"type": "service_account"`),
		of("Google OAuth Access Token", "ya29.", `ya29\.[0-9A-Za-z_-]`),
		of("Heroku API Key", "heroku", `(?i:heroku)`+gap+strings.ReplaceAll(uuid, "a-f", "A-F")),
		of("Grafana API Key", "eyjrijoi", `eyJrIjoi[A-Za-z0-9]{70}`),
		of("Grafana Cloud API Token", "glc_", `glc_[A-Za-z0-9+/]{32}`),
		of("Grafana Service Account Token", "glsa_", `glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}`),
	}
}

func newRelicRules() []rule {
	return []rule{
		of("New Relic Synthetics Private Location", "minion_private_location_key", `(?i)minion_private_location_key`),
		of("New Relic Insights Key (specific)", "insights", `(?i)insights`+opt+`(?:key|query|insert)`+gap+`\b[\w-]{32,40}\b`),
		of("New Relic Insights Key (vague)", "query insert", `(?i)(?:query|insert)`+opt+`key`+gap+`\b[\w-]{32,40}\b`),
		of("New Relic License Key", "license", `(?i)license`+opt+`key`+gap+`\b[\w-]{32,47}\b`),
		of("New Relic Internal API Key", "nr-internal-api-key", `(?i)nr-internal-api-key`),
		of("New Relic HTTP Auth Headers and API Key", "key id",
			`(?i)(?:x|newrelic|nr)-?(?:admin|partner|account|query|insert|api|license)-?(?:id|key)`+gap+`\b[\w-]{32,47}\b`),
		of("New Relic API Key Service Key (new format)", "nrak-", `(?i)NRAK-[a-z0-9]{27}`),
		of("New Relic APM License Key (new format)", "nral", `(?i)[a-f0-9]{36}NRAL`),
		of("New Relic APM License Key (new format, region-aware)", "nral", `(?i)[a-z]{2}[0-9]{2}xx[a-f0-9]{30}NRAL`),
		of("New Relic REST API Key (new format)", "nrra-", `(?i)NRRA-[a-f0-9]{42}`),
		of("New Relic REST API Key (another new-style format)", "nrra-", `(?i)NRRA-[a-f0-9]{21}`),
		of("New Relic Admin API Key (new format)", "nraa-", `(?i)NRAA-[a-f0-9]{27}`),
		of("New Relic Insights Insert Key (new format)", "nrii-", `(?i)NRII-[a-z0-9_-]{32}`),
		of("New Relic Insights Query Key (new format)", "nriq-", `(?i)NRIQ-[a-z0-9_-]{32}`),
		of("New Relic Synthetics Private Location Key (new format)", "nrsp-", `(?i)NRSP-[a-z]{2}[0-9]{2}[a-f0-9]{31}`),
		of("New Relic Pixie API Key", "px-api-", `px-api-`+uuid),
		of("New Relic Pixie Deploy Key", "px-dep-", `px-dep-`+uuid),
		of("New Relic Account IDs in URL", "accounts/", `accounts/\d{1,10}/`),
		{"New Relic Partner & REST API Key", nil, func(line string) bool { return enclosedHex(line, 47) }},
		{"New Relic Mobile Application Token", nil, func(line string) bool { return enclosedHex(line, 42) }},
	}
}

func otherRules() []rule {
	return []rule{
		of("Slack Token", "xox", `xox[pboa]-[0-9]{12}-[0-9]{12}-[0-9]{12}-[a-z0-9]{32}`),
		of("Slack Webhook", "hooks.slack.com", `(?i)https://hooks\.slack\.com/services/T[a-z0-9_]{8}/B[a-z0-9_]{8,10}/[a-z0-9_]{24}`),
		of("Facebook Access Token", "eaacedeose0cba", `EAACEdEose0cBA[0-9A-Za-z]`),
		of("Facebook OAuth", "facebook", `(?i)facebook`+gap+`[0-9a-f]{32}`),
		of("GitHub", "github access", `(?i)(?:github|access[[:punct:]]token)`+gap+`[0-9a-z]{35}`),
		of("Generic API Key", "key", `(?i)(?:api|access)`+opt+`key`+gap+key),
		of("Generic Account API Key", "account", `(?i)account`+opt+`api`+gap+key),
		of("Generic Secret", "secret", `(?i)secret`+gap+key),
		of("MailChimp API Key", "-us", `[0-9a-f]{32}-us[0-9]`),
		of("Mailgun API Key", "key-", `(?i)key-[0-9a-z]{32}`),
		of("Credentials in absolute URL", "://", `(?i)(?:https?|ftp)://`+user+`:`+user+`@`+host),
		of("PayPal Braintree Access Token", "access_token$production$", `(?i)access_token\$production\$[0-9a-z]{16}\$[0-9a-f]{32}`),
		of("Picatic API Key", "sk_live_", `(?i)sk_live_[0-9a-z]{32}`),
		of("Stripe API Key", "sk_live_", `(?i)sk_live_[0-9a-z]{24}`),
		of("Stripe Restricted API Key", "rk_live_", `(?i)rk_live_[0-9a-z]{24}`),
		of("Square Access Token", "sq0atp-", `(?i)sq0atp-[0-9a-z_-]{22}`),
		of("Square OAuth Secret", "sq0csp-", `(?i)sq0csp-[0-9a-z_-]{43}`),
		of("Twilio API Key", "sk", `SK[0-9a-fA-F]{32}`),
		of("Twitter Access Token", "twitter", `(?i)twitter`+gap+`[1-9][0-9]+-[0-9a-z]{40}`),
		of("Twitter OAuth", "twitter", `(?i)twitter`+gap+`['"|]?[0-9a-z]{35}`),
		of("Email address", "@", `(?i)\b`+atom+`(?:\.`+atom+`)*@[a-z0-9][a-z0-9-]+\.(?:com|de|cn|net|uk|org|info|nl|eu|ru)(?:[^\w:/]|\z)`),
		of("Account ID", "account", `(?i)account`+opt+`id`+gap+`\b\d{1,10}\b`),
		of("Salary Information", "salary commission compensation pay",
			`(?i)(?:salary|commission|compensation|pay)(?:[\s[:punct:]](?:amount|target))?`+gap+`\d`),
	}
}

// enclosedHex reports whether the line has exactly n hexadecimal digits between
// blanks or punctuation. It stands for an expression without any hint.
func enclosedHex(line string, n int) bool {
	isHex := func(c byte) bool {
		return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
	}
	isEdge := func(i int) bool {
		if i < 0 || i >= len(line) {
			return false
		}
		c := line[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		return c < 0x80 && !letter && (c < '0' || c > '9')
	}
	for i := 0; i < len(line); i++ {
		from := i
		for i < len(line) && isHex(line[i]) {
			i++
		}
		if i-from == n && isEdge(from-1) && isEdge(i) {
			return true
		}
	}
	return false
}

// possible reports whether the line, in lower case, can match at all.
func (r rule) possible(lower string) bool {
	if r.hints == nil {
		return true
	}
	for _, hint := range r.hints {
		if strings.Contains(lower, hint) {
			return true
		}
	}
	return false
}
