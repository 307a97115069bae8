package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// sameWalk demands that what is known of where values end changes nothing of
// what is found.
func sameWalk(t *testing.T, plain, known Value) {
	t.Helper()
	if !bytes.Equal(plain.raw, known.raw) {
		t.Fatalf("at %s: %q with what is known, %q without", plain.Path(), known.raw, plain.raw)
	}
	if !plain.Exists() {
		return
	}
	var names []string
	var values [2][]Value
	for i, v := range []Value{plain, known} {
		switch typeOf(v.raw) {
		case "an object":
			for name, inner := range v.Members() {
				names = append(names, name)
				values[i] = append(values[i], inner)
			}
		case "a list":
			for _, inner := range v.Elements() {
				values[i] = append(values[i], inner)
			}
		}
	}
	if len(values[0]) != len(values[1]) {
		t.Fatalf("at %s: %d values with what is known, %d without", plain.Path(), len(values[1]), len(values[0]))
	}
	for i := range values[0] {
		if len(names) > 0 && names[i] != names[i+len(values[0])] {
			t.Fatalf("at %s: names %q", plain.Path(), names)
		}
		sameWalk(t, values[0][i], values[1][i])
	}
}

// spansCase is a review-like text with longer and shorter values.
func spansCase() string {
	long := strings.Repeat("x", 90)
	var lists []string
	for i := range 80 {
		lists = append(lists, fmt.Sprintf(`{"name":"c%d","env":[{"name":"%s"},{},[]],"s":{"privileged":true,"why":"%s]}"}}`, i, long, long))
	}
	return ` {"request": {"object": {"spec": {"containers": [` + strings.Join(lists, ", ") + `]}, "x": null, "spec": {}}, "n": [1, {"a": "` + long + `"}]}} `
}

func FuzzText(f *testing.F) {
	f.Add(spansCase())
	f.Add(`[[[[[[[[[["` + strings.Repeat("y", 70) + `"]]]]]]]]]]`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			return
		}
		raw := []byte(text)
		known, err := CheckText(raw)
		if plain := Check(raw); (plain == nil) != (err == nil) {
			t.Fatalf("Check = %v, CheckText = %v", plain, err)
		}
		if err == nil {
			sameWalk(t, View(raw), known.View())
		}
	})
}

func TestWhatIsKnownOfATextChangesNothing(t *testing.T) {
	raw := []byte(spansCase())
	known, err := CheckText(raw)
	if err != nil {
		t.Fatal(err)
	}
	filled := 0
	for _, s := range known.spans.slots {
		if s != (span{}) {
			filled++
		}
	}
	if filled < 32 {
		t.Errorf("%d slots are in use: the test walks nothing that is known", filled)
	}
	sameWalk(t, View(raw), known.View())
}

// A request whose object was replaced, as the mutating policies of a bundle do,
// must not be read by the ends of the old one.
func TestAReplacedObjectIsReadAnew(t *testing.T) {
	object := `{"metadata":{"name":"` + strings.Repeat("n", 80) + `"},"spec":{"containers":[{"name":"a","image":"` + strings.Repeat("i", 80) + `"}]}}`
	text := []byte(`{"uid":"1","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},` +
		`"operation":"CREATE","userInfo":{},"object":` + object + `}`)
	checked, err := CheckText(text)
	if err != nil {
		t.Fatal(err)
	}
	req, err := checked.Request(checked.View())
	if err != nil {
		t.Fatal(err)
	}
	if _, known := req.whole(req.Object, req.object); known == nil {
		t.Fatal("nothing is known of the object that was checked")
	}
	changed := *req
	changed.Object = json.RawMessage(strings.Replace(object, `"a"`, `"bb","x":{"y":[]}`, 1))
	spec, err := changed.PodSpec()
	if err != nil {
		t.Fatal(err)
	}
	for c := range spec.Containers() {
		if got := c.Get("name").String(); got != "bb" {
			t.Errorf("name = %q, want bb", got)
		}
	}
	if got := string(spec.Raw()); !strings.HasSuffix(got, "]}") || !json.Valid(spec.Raw()) {
		t.Errorf("spec = %s", got)
	}
}

func TestEveryDocumentOfARequestIsLookedAtTheSame(t *testing.T) {
	document := spansCase()
	text := []byte(`{"uid":"1","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},` +
		`"operation":"UPDATE","userInfo":{},"object":` + document + `,"oldObject": ` + document + ` }`)
	checked, err := CheckText(text)
	if err != nil {
		t.Fatal(err)
	}
	req, err := checked.Request(checked.View())
	if err != nil {
		t.Fatal(err)
	}
	made, err := CheckText([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	own := &Request{}
	own.SetObject(made)
	for name, v := range map[string]Value{"object": req.ViewObject(), "old object": req.ViewOldObject(), "object that was set": own.ViewObject()} {
		if v.doc.spans == nil {
			t.Errorf("%s: nothing is known of it", name)
		}
		sameWalk(t, View([]byte(document)), v)
	}
	if string(own.Object) != document || own.ViewOldObject().Exists() {
		t.Errorf("object %s, want %s and no old one", own.Object, document)
	}
	own.Object = []byte(`{"a":1}`)
	if v := own.ViewObject(); v.doc.spans != nil || v.Get("a").Int() != 1 {
		t.Errorf("an object that was replaced is read as the one before")
	}
}
