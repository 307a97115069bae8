package capability

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
)

// maxIndexed bounds how many label keys a kind is indexed by. Selectors by
// other keys look at every object.
const maxIndexed = 32

// store holds the objects of one kind, in the order of namespace and name. It
// is what a watch writes to.
type store struct {
	next func() uint64 // a revision that nothing had before

	mu       sync.RWMutex
	objects  []*object
	byLabel  map[string]map[string][]*object // by key and value, of the keys somebody asked for
	revision uint64                          // of the objects; 0 before the first list
	synced   chan struct{}                   // closed by the first list
}

func newStore(next func() uint64) *store {
	return &store{next: next, byLabel: map[string]map[string][]*object{}, synced: make(chan struct{})}
}

// Add, Update, Delete, Replace and Resync are called by the reflector, with the
// objects that our own decoder has made.

// Add puts an object in.
func (s *store) Add(obj any) error { return s.Update(obj) }

// Update puts an object in, in the place of the one of that name.
func (s *store) Update(obj any) error {
	o, ok := obj.(*object)
	if !ok {
		return fmt.Errorf("a store of objects gets %T", obj)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearchFunc(s.objects, o, (*object).compare)
	switch {
	case !found:
		s.objects = slices.Insert(s.objects, i, o)
	case bytes.Equal(s.objects[i].text, o.text):
		return nil
	default:
		s.unindex(s.objects[i])
		s.objects[i] = o
	}
	s.index(o)
	s.revision = s.next()
	return nil
}

// Delete takes an object out.
func (s *store) Delete(obj any) error {
	o, ok := obj.(*object)
	if !ok {
		return fmt.Errorf("a store of objects gets %T", obj)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, found := slices.BinarySearchFunc(s.objects, o, (*object).compare); found {
		s.unindex(s.objects[i])
		s.objects = slices.Delete(s.objects, i, i+1)
		s.revision = s.next()
	}
	return nil
}

// Replace puts a whole list in. What it has in common with what was there is
// kept, and a list that brings nothing new is no new revision.
func (s *store) Replace(list []any, _ string) error {
	objects := make([]*object, 0, len(list))
	for _, obj := range list {
		o, ok := obj.(*object)
		if !ok {
			return fmt.Errorf("a store of objects gets %T", obj)
		}
		objects = append(objects, o)
	}
	slices.SortFunc(objects, (*object).compare)
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.revision == 0 || len(objects) != len(s.objects)
	for i, o := range objects {
		if k, found := slices.BinarySearchFunc(s.objects, o, (*object).compare); found && bytes.Equal(s.objects[k].text, o.text) {
			objects[i] = s.objects[k]
		} else {
			changed = true
		}
	}
	if !changed {
		return nil
	}
	s.objects = objects
	for key := range s.byLabel {
		s.byLabel[key] = indexBy(key, objects)
	}
	if s.revision == 0 {
		close(s.synced)
	}
	s.revision = s.next()
	return nil
}

// Resync does nothing: there is nobody to tell again.
func (s *store) Resync() error { return nil }

// find returns the selected objects in their order, and the revision they are
// of.
func (s *store) find(f *filter) ([]*object, uint64, error) {
	s.indexFor(f.equal)
	s.mu.RLock()
	defer s.mu.RUnlock()
	candidates := f.in(s.objects)
	for _, l := range f.equal {
		if values, ok := s.byLabel[l.key]; ok {
			if fewer := f.in(values[l.value]); len(fewer) < len(candidates) {
				candidates = fewer
			}
		}
	}
	if f.labels.Empty() && len(f.fields) == 0 {
		return slices.Clone(candidates), s.revision, nil
	}
	var found []*object
	for _, o := range candidates {
		ok, err := f.matches(o)
		if err != nil {
			return nil, 0, err
		}
		if ok {
			found = append(found, o)
		}
	}
	return found, s.revision, nil
}

// at returns the revision of the objects.
func (s *store) at() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// in returns the part of ordered objects that is in the filter's namespace.
func (f *filter) in(objects []*object) []*object {
	if f.everywhere {
		return objects
	}
	from, _ := slices.BinarySearchFunc(objects, f.namespace, func(o *object, namespace string) int {
		if o.namespace < namespace {
			return -1
		}
		return 1
	})
	n, _ := slices.BinarySearchFunc(objects[from:], f.namespace, func(o *object, namespace string) int {
		if o.namespace == namespace {
			return -1
		}
		return 1
	})
	return objects[from : from+n]
}

// indexFor makes the indexes of the keys that somebody selects by for the first
// time.
func (s *store) indexFor(labels []pair) {
	missing := func() bool {
		return len(s.byLabel) < maxIndexed && slices.ContainsFunc(labels, func(l pair) bool { return s.byLabel[l.key] == nil })
	}
	s.mu.RLock()
	none := !missing()
	s.mu.RUnlock()
	if none {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range labels {
		if s.byLabel[l.key] == nil && len(s.byLabel) < maxIndexed {
			s.byLabel[l.key] = indexBy(l.key, s.objects)
		}
	}
}

// indexBy returns ordered objects by the value of one label, in that order.
func indexBy(key string, objects []*object) map[string][]*object {
	index := map[string][]*object{}
	for _, o := range objects {
		if value, ok := o.labels.Lookup(key); ok {
			index[value] = append(index[value], o)
		}
	}
	return index
}

// index and unindex keep the indexes up to date.
func (s *store) index(o *object) {
	for key, index := range s.byLabel {
		if value, ok := o.labels.Lookup(key); ok {
			i, _ := slices.BinarySearchFunc(index[value], o, (*object).compare)
			index[value] = slices.Insert(index[value], i, o)
		}
	}
}

func (s *store) unindex(o *object) {
	for key, index := range s.byLabel {
		value, ok := o.labels.Lookup(key)
		if !ok {
			continue
		}
		if i, found := slices.BinarySearchFunc(index[value], o, (*object).compare); found {
			index[value] = slices.Delete(index[value], i, i+1)
		}
		if len(index[value]) == 0 {
			delete(index, value)
		}
	}
}
