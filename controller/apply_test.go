package controller

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestLiveCoversDesired(t *testing.T) {
	type object = map[string]any
	tests := []struct {
		name          string
		live, desired any
		want          bool
	}{
		{"the same", object{"a": "b"}, object{"a": "b"}, true},
		{"more in the live object", object{"a": "b", "c": "d"}, object{"a": "b"}, true},
		{"less in the live object", object{}, object{"a": "b"}, false},
		{"another value", object{"a": "c"}, object{"a": "b"}, false},
		{"another type", object{"a": object{}}, object{"a": "b"}, false},
		{"empty where there is nothing", object{}, object{"a": object{}}, true},
		{"numbers of JSON", object{"a": int64(3)}, object{"a": float64(3)}, true},
		{"other numbers", object{"a": int64(3)}, object{"a": int64(4)}, false},
		{"booleans", object{"a": true}, object{"a": false}, false},
		{"a list with defaults in it", []any{object{"a": "b", "d": "e"}}, []any{object{"a": "b"}}, true},
		{"a longer list", []any{"a", "b"}, []any{"a"}, false},
		{"another order", []any{"a", "b"}, []any{"b", "a"}, false},
		{"no list", nil, []any{"a"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := covers(tt.live, tt.desired); got != tt.want {
				t.Errorf("covers(%v, %v) = %t, want %t", tt.live, tt.desired, got, tt.want)
			}
		})
	}
}

func TestApplySendsOnlyWhatIsNotSo(t *testing.T) {
	ctx, sent := t.Context(), 0
	c := interceptor.NewClient(fake.NewClientBuilder().WithScheme(newScheme()).Build(), interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			sent++
			return c.Apply(ctx, o, append(opts, client.FieldOwner("test"))...)
		},
	})
	a := newApplier(c, c)
	desired := func(data map[string]string) *corev1.ConfigMap {
		return &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n"}, Data: data,
		}
	}
	edit := func(change func(*corev1.ConfigMap)) func() {
		return func() {
			live := &corev1.ConfigMap{}
			if err := c.Get(ctx, client.ObjectKey{Namespace: "n", Name: "c"}, live); err != nil {
				t.Fatal(err)
			}
			change(live)
			if err := c.Update(ctx, live); err != nil {
				t.Fatal(err)
			}
		}
	}
	nothing := func() {}
	steps := []struct {
		name   string
		before func()
		data   map[string]string
		sent   int
	}{
		{"it is not there", nothing, map[string]string{"a": "1"}, 1},
		{"it is as it should be", nothing, map[string]string{"a": "1"}, 0},
		{"something else is wanted", nothing, map[string]string{"a": "2", "b": "3"}, 1},
		{"somebody adds what is not ours", edit(func(m *corev1.ConfigMap) { m.Labels = map[string]string{"x": "y"} }), map[string]string{"a": "2", "b": "3"}, 0},
		{"somebody changes what is ours", edit(func(m *corev1.ConfigMap) { m.Data["a"] = "9" }), map[string]string{"a": "2", "b": "3"}, 1},
		{"less is wanted", nothing, map[string]string{"a": "2"}, 1},
		{"somebody deletes it", func() { _ = c.Delete(ctx, desired(nil)) }, map[string]string{"a": "2"}, 1},
	}
	for _, s := range steps {
		s.before()
		sent = 0
		if _, err := a.apply(ctx, desired(s.data)); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		live := &corev1.ConfigMap{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: "n", Name: "c"}, live); err != nil {
			t.Fatal(err)
		}
		if sent != s.sent || len(live.Data) != len(s.data) || live.Data["a"] != s.data["a"] {
			t.Errorf("%s: sent %d times, now %v, want %d times, %v", s.name, sent, live.Data, s.sent, s.data)
		}
	}
}
