package rego

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/warder-dev/warder/sdk"
)

// calls are calls of the built-ins that OPA leaves to the host, and of the
// others that Kubewarden names as its own. They are written so that nothing that
// is random shows. A call that is undefined is [].
func calls() map[string][]string {
	const (
		hs256  = `"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"`
		secret = `"your-256-bit-secret"`
		schema = `{"type":"object","properties":{"id":{"type":"integer"}},"required":["id"]}`
		gql    = `"type Query { foo: String }"`
		ns     = `1709206245123456789`
	)
	return map[string][]string{
		"trace":                   {`trace("x")`},
		"base64url.encode_no_pad": {`base64url.encode_no_pad("a?>~\u00fc")`},
		"urlquery.encode":         {`urlquery.encode("a b&c=d/+#\u00fc")`},
		"urlquery.decode":         {`urlquery.decode("a+b%20c")`, `urlquery.decode("a=1&b=2")`, `urlquery.decode("%zz")`},
		"urlquery.encode_object":  {`urlquery.encode_object({"a": "b c", "d": ["e", "f"], "g": {"h"}})`, `urlquery.encode_object({"a": input.request.one})`},
		"urlquery.decode_object":  {`urlquery.decode_object("a=1&a=2&b=&c")`},
		"json.is_valid":           {`json.is_valid("{}")`, `json.is_valid("{")`},
		"yaml.marshal":            {`yaml.marshal({"a": [1, "x", null, 2.5], "b": {"c": "yes"}})`, `yaml.marshal({1})`},
		"yaml.unmarshal":          {`yaml.unmarshal("a: [1, x]\nb: {c: true}")`, `yaml.unmarshal("a: [")`},
		"yaml.is_valid":           {`yaml.is_valid("a: 1")`, `yaml.is_valid("a: [")`},
		"hex.encode":              {`hex.encode("\n\u00ff")`},
		"hex.decode":              {`hex.decode("0a41")`, `hex.decode("abc")`, `hex.decode("zz")`},
		"glob.quote_meta":         {`glob.quote_meta("*.{a}[b]?\\")`},
		"json.patch": {`json.patch({"a": {"foo": 1}}, [{"op": "add", "path": "/a/bar", "value": 2}])`, `json.patch([1], [{"op": "remove", "path": "0"}])`,
			`json.patch({}, [{"op": "nothing"}])`, `json.patch({}, [{"op": "remove", "path": "/x"}])`, `json.patch({"s": {1, 2}}, [{"op": "remove", "path": ["s", 1]}])`},
		"regex.split":          {`regex.split("[,;]", "a,b;c")`, `regex.split("(", "a")`},
		"regex.template_match": {`regex.template_match("urn:foo:{.*}", "urn:foo:bar:baz", "{", "}")`, `regex.template_match("a{", "a", "{", "}")`},
		"regex.find_n":         {`regex.find_n("[oa]+", "banana foo", -1)`, `regex.find_n("o", "foo", 1)`},
		"semver.is_valid":      {`semver.is_valid("1.2.3-rc.1+b")`, `semver.is_valid("1.2")`, `semver.is_valid(1)`},
		"semver.compare":       {`semver.compare("1.2.3", "1.10.0")`, `semver.compare("1.0.0", "1.0.0-rc1")`, `semver.compare("x", "1.0.0")`},
		"sprintf": {`sprintf("%v %s %d %q %5.2f %t %%", [{"a": [1]}, "s", 7, "q\"", 1.5, true])`, `sprintf("%d", [12345678901234567890])`, `sprintf("%v", [{1, "x"}])`,
			`sprintf("%s", [1])`, `sprintf("\"%v\"", [null])`, `sprintf("%v", [])`, `sprintf("%v", ["\u0007\u200b\ud83d\ude00"])`},
		"time.now_ns":            {`time.now_ns() == time.now_ns()`, `time.now_ns() > ` + ns},
		"time.parse_rfc3339_ns":  {`time.parse_rfc3339_ns("2024-02-29T11:30:45.123456789Z")`, `time.parse_rfc3339_ns("yesterday")`},
		"time.parse_ns":          {`time.parse_ns("2006-01-02", "2024-02-29")`},
		"time.parse_duration_ns": {`time.parse_duration_ns("1h2m")`, `time.parse_duration_ns("x")`},
		"time.format":            {`time.format(` + ns + `)`, `time.format([` + ns + `, "UTC", "Mon 2 Jan"])`},
		"time.date":              {`time.date(` + ns + `)`, `time.date([` + ns + `, "UTC"])`, `time.date([` + ns + `, "Nowhere/Land"])`},
		"time.clock":             {`time.clock(` + ns + `)`},
		"time.weekday":           {`time.weekday(` + ns + `)`},
		"time.add_date":          {`time.add_date(` + ns + `, 1, 2, 3)`, `time.add_date(9223372036854775807, 1, 2, 3)`},
		"time.diff":              {`time.diff(` + ns + `, 1)`},
		"crypto.md5":             {`crypto.md5("a")`}, "crypto.sha1": {`crypto.sha1("a")`}, "crypto.sha256": {`crypto.sha256("a")`},
		"crypto.hmac.md5": {`crypto.hmac.md5("a", "k")`}, "crypto.hmac.sha1": {`crypto.hmac.sha1("a", "k")`},
		"crypto.hmac.sha256": {`crypto.hmac.sha256("a", "k")`}, "crypto.hmac.sha512": {`crypto.hmac.sha512("a", "k")`},
		"crypto.hmac.equal":                                      {`crypto.hmac.equal("a", "a")`, `crypto.hmac.equal("a", "b")`},
		"crypto.x509.parse_certificates":                         {`crypto.x509.parse_certificates("x")`, `crypto.x509.parse_certificates(input.request.pem)[0].Subject.CommonName`},
		"crypto.x509.parse_and_verify_certificates":              {`crypto.x509.parse_and_verify_certificates("x")`, `crypto.x509.parse_and_verify_certificates(input.request.pem)`},
		"crypto.x509.parse_and_verify_certificates_with_options": {`crypto.x509.parse_and_verify_certificates_with_options(input.request.pem, {"CurrentTime": 1})`},
		"crypto.x509.parse_certificate_request":                  {`crypto.x509.parse_certificate_request("x")`, `crypto.x509.parse_certificate_request(input.request.csr).Subject.CommonName`},
		"crypto.x509.parse_keypair":                              {`crypto.x509.parse_keypair("x", "y")`, `crypto.x509.parse_keypair(input.request.pem, input.request.key)`},
		"crypto.x509.parse_rsa_private_key":                      {`crypto.x509.parse_rsa_private_key("x")`},
		"crypto.parse_private_keys":                              {`crypto.parse_private_keys("x")`, `crypto.parse_private_keys(input.request.key)`},
		"io.jwt.decode":                                          {`io.jwt.decode(` + hs256 + `)`, `io.jwt.decode("x")`},
		"io.jwt.decode_verify":                                   {`io.jwt.decode_verify(` + hs256 + `, {"secret": ` + secret + `})`, `io.jwt.decode_verify(` + hs256 + `, {"secret": "x"})`},
		"io.jwt.verify_hs256":                                    {`io.jwt.verify_hs256(` + hs256 + `, ` + secret + `)`, `io.jwt.verify_hs256(` + hs256 + `, "x")`},
		"io.jwt.verify_hs384":                                    {`io.jwt.verify_hs384(` + hs256 + `, ` + secret + `)`},
		"io.jwt.verify_hs512":                                    {`io.jwt.verify_hs512(` + hs256 + `, ` + secret + `)`},
		"io.jwt.verify_rs256":                                    {`io.jwt.verify_rs256(` + hs256 + `, "x")`, `io.jwt.verify_rs256(` + hs256 + `, input.request.pem)`},
		"io.jwt.verify_rs384":                                    {`io.jwt.verify_rs384(` + hs256 + `, "x")`}, "io.jwt.verify_rs512": {`io.jwt.verify_rs512(` + hs256 + `, "x")`},
		"io.jwt.verify_ps256": {`io.jwt.verify_ps256(` + hs256 + `, "x")`}, "io.jwt.verify_ps384": {`io.jwt.verify_ps384(` + hs256 + `, "x")`},
		"io.jwt.verify_ps512": {`io.jwt.verify_ps512(` + hs256 + `, "x")`}, "io.jwt.verify_es256": {`io.jwt.verify_es256(` + hs256 + `, "x")`},
		"io.jwt.verify_es384": {`io.jwt.verify_es384(` + hs256 + `, "x")`}, "io.jwt.verify_es512": {`io.jwt.verify_es512(` + hs256 + `, "x")`},
		"io.jwt.verify_eddsa":       {`io.jwt.verify_eddsa(` + hs256 + `, "x")`},
		"io.jwt.encode_sign":        {`io.jwt.encode_sign({"typ": "JWT", "alg": "HS256"}, {"a": 1}, {"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"})`},
		"io.jwt.encode_sign_raw":    {`io.jwt.encode_sign_raw("{\"alg\":\"HS256\"}", "{\"a\":1}", "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ\"}")`},
		"units.parse":               {`units.parse("10K")`, `units.parse("1.5Mi")`, `units.parse("x")`, `units.parse("100m")`},
		"units.parse_bytes":         {`units.parse_bytes("1.5GiB")`, `units.parse_bytes("")`},
		"uuid.rfc4122":              {`uuid.rfc4122("k") == uuid.rfc4122("k")`, `uuid.rfc4122("k") == uuid.rfc4122("l")`, `count(uuid.rfc4122("k"))`},
		"uuid.parse":                {`uuid.parse("00000000-0000-1000-8000-000000000000")`, `uuid.parse("x")`},
		"rand.intn":                 {`rand.intn("k", 1000000) == rand.intn("k", 1000000)`, `rand.intn("k", 1)`, `rand.intn("k", 0)`},
		"net.cidr_contains_matches": {`net.cidr_contains_matches(["1.1.1.0/24", "2.0.0.0/8"], "1.1.1.128")`, `net.cidr_contains_matches({"1.1.1.0/24"}, {"1.1.1.1", "x"})`},
		"net.cidr_expand":           {`net.cidr_expand("192.168.0.0/30")`},
		"net.cidr_merge":            {`net.cidr_merge(["10.0.0.0/25", "10.0.0.128/25", "::1"])`},
		"net.cidr_is_valid":         {`net.cidr_is_valid("10.0.0.0/25")`, `net.cidr_is_valid("10.0.0.0/33")`},
		"graph.reachable":           {`graph.reachable({"a": {"b"}, "b": {"a", "c"}, "c": set()}, {"a"})`},
		"graph.reachable_paths":     {`graph.reachable_paths({"a": {"b"}, "b": {"a", "c"}, "c": set()}, {"a"})`},
		"regex.globs_match":         {`regex.globs_match("a.a.[0-9]+z", "b.b*")`, `regex.globs_match("[a-z]+", "[0-9]*")`},
		"regex.replace":             {`regex.replace("banana", "(a)n", "<$1>")`, `regex.replace("a", "(", "")`},
		"json.match_schema":         {`json.match_schema({"id": 5}, ` + schema + `)`, `json.match_schema("{\"id\":\"x\"}", ` + schema + `)`, `json.match_schema({}, input.request.one)`},
		"json.verify_schema":        {`json.verify_schema(` + schema + `)`, `json.verify_schema({"type": "nothing"})[0]`, `json.verify_schema("{")[0]`},
		"json.marshal_with_options": {`json.marshal_with_options({"a": [1]}, {"indent": " ", "pretty": true})`},
		"object.subset":             {`object.subset({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}})`, `object.subset({1, 2}, {1})`, `object.subset([1, 2, 3], [2, 3])`},
		"strings.any_prefix_match":  {`strings.any_prefix_match(["abc", "d"], {"a", "x"})`},
		"strings.any_suffix_match":  {`strings.any_suffix_match("abc", ["x", "bc"])`},
		"strings.count":             {`strings.count("banana", "an")`},
		"strings.render_template":   {`strings.render_template("{{.a}} and {{range .l}}{{.}};{{end}}", {"a": "x", "l": [1, 2]})`, `strings.render_template("{{", {})`},
		"indexof_n":                 {`indexof_n("banana", "an")`, `indexof_n("b", "x")`},
		"numbers.range_step":        {`numbers.range_step(1, 10, 3)`, `numbers.range_step(1, 2, 0)`},
		"graphql.is_valid":          {`graphql.is_valid("{ foo }", ` + gql + `)`},
		"graphql.parse":             {`count(graphql.parse("{ foo }", ` + gql + `))`},
		"graphql.parse_and_verify":  {`graphql.parse_and_verify("{ bar }", ` + gql + `)[0]`},
		"graphql.parse_query":       {`graphql.parse_query("{ foo }").Operations[0].Operation`},
		"graphql.parse_schema":      {`graphql.parse_schema(` + gql + `).Definitions[0].Name`},
		"graphql.schema_is_valid":   {`graphql.schema_is_valid(` + gql + `)`, `graphql.schema_is_valid("{")`},
		"rego.parse_module":         {`rego.parse_module("x.rego", "package x\np := 1").package.path[1].value`, `rego.parse_module("x.rego", "?")`},
		"providers.aws.sign_req":    {`providers.aws.sign_req({"method": "get", "url": "https://x.example/y"}, {"aws_access_key": "a", "aws_secret_access_key": "s", "aws_service": "s3", "aws_region": "r"}, ` + ns + `).headers.Authorization`},
		"uri.parse":                 {`uri.parse("https://u@h.example:8443/p?q=1#f")`, `uri.parse(":")`},
		"uri.is_valid":              {`uri.is_valid("https://h.example")`, `uri.is_valid(":")`},
		"strings.split_n":           {`strings.split_n("a,b,c", ",", 2)`},
	}
}

// compiledToo are those that OPA's compiler has for itself. Source: the map
// builtinsFunctions of its internal/compiler/wasm.
const compiledToo = `plus minus mul div abs round ceil floor rem array.concat array.flatten array.reverse array.slice and or intersection
	union is_number is_string is_boolean is_array is_set is_object is_null type_name bits.or bits.and bits.negate bits.xor bits.lsh bits.rsh
	count sum product max min sort base64.is_valid base64.decode base64.encode base64url.encode base64url.decode net.cidr_contains
	net.cidr_intersects equal gt gte lt lte neq glob.match json.marshal json.unmarshal object.filter object.get object.keys
	object.remove object.union object.union_n concat format_int indexof substring lower upper contains startswith endswith
	strings.reverse split replace strings.replace_n trim trim_left trim_prefix trim_right trim_suffix trim_space
	internal.template_string numbers.range to_number walk regex.is_valid regex.match regex.find_all_string_submatch_n json.remove
	json.filter internal.member_2 internal.member_3`

// resolvedBefore are those that OPA's compiler replaces or that its language
// knows under another name, and the one for its own tests.
const resolvedBefore = `rego.metadata.chain rego.metadata.rule assign eq print internal.print internal.test_case`

func TestEveryBuiltinIsTriedOrRefused(t *testing.T) {
	known := append(strings.Fields(compiledToo), strings.Fields(resolvedBefore)...)
	known = append(known, refused()...)
	have := calls()
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		if _, ok := have[b.Name]; !ok && !slices.Contains(known, b.Name) && !b.IsDeprecated() {
			t.Errorf("nothing tries %s", b.Name)
		}
	}
}

// documents for the calls: a certificate with the common name warder, a request
// for one, and their key.
func pems(t *testing.T) json.RawMessage {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "warder"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	certificate, err := x509.CreateCertificate(nil, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	wish, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: template.Subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	text, err := json.Marshal(map[string]any{"one": 1, "pem": block("CERTIFICATE", certificate),
		"csr": block("CERTIFICATE REQUEST", wish), "key": block("PRIVATE KEY", der)})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestBuiltinsSayWhatTheInterpreterSays(t *testing.T) {
	all := calls()
	var rules strings.Builder
	want := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for n, call := range all[name] {
			key := fmt.Sprintf("%s %d", name, n)
			want[key] = 1
			fmt.Fprintf(&rules, "main[%q] := [x | x := %s]\n", key, call)
		}
	}
	p := pairOf(t, source{OPA, rules.String()}, "")
	input, err := OPA.input(&sdk.Request{Raw: pems(t)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	interpreted, err := p.interpreter.result(bounded(t), input)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.program.ask(bounded(t), input)
	if err != nil {
		t.Fatal(err)
	}
	var answers, expected []struct{ Result map[string]json.RawMessage }
	if err := json.Unmarshal(got, &answers); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if err := json.Unmarshal(interpreted, &expected); err != nil {
		t.Fatal(err)
	}
	for name, list := range all {
		for n, call := range list {
			key := fmt.Sprintf("%s %d", name, n)
			var a, b any
			if err := json.Unmarshal(answers[0].Result[key], &a); err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			if err := json.Unmarshal(expected[0].Result[key], &b); err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			sortLists(a)
			sortLists(b)
			if diff := cmp.Diff(b, a); diff != "" {
				t.Errorf("%s: (-interpreter +compiled)\n%s", call, diff)
			}
		}
	}
	t.Logf("%d calls of %d built-ins", len(want), len(all))
}
