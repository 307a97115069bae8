package guest

// State is an instance's memory and globals at one moment. The stack of a
// guest that is parked inside a host function is the runtime's to keep.
type State struct {
	image   *image
	globals []uint64
}

// Capture takes a snapshot of the instance, which from then on can be restored
// to it. Its guest must be outside, or inside a host function.
func (in *Instance) Capture() (*State, error) {
	img, err := in.memory.capture()
	if err != nil {
		return nil, err
	}
	s := &State{image: img, globals: make([]uint64, len(in.globals))}
	s.readGlobals(in)
	return s, nil
}

func (s *State) readGlobals(in *Instance) {
	for i, g := range in.globals {
		s.globals[i] = g.Get()
	}
}

func (s *State) writeGlobals(in *Instance) {
	for i, g := range in.globals {
		g.Set(s.globals[i])
	}
}

// Free lets go of the snapshot. Instances that are attached to it keep what
// they have.
func (s *State) Free() { s.image.free() }

// Attach makes a new instance what the snapshot of another one of the same
// module is.
func (in *Instance) Attach(s *State) error {
	if grow := s.image.size - in.memory.size; grow > 0 {
		if _, ok := in.Memory().Grow(uint32(grow / wasmPage)); !ok {
			return errGrown
		}
	}
	if err := in.memory.attach(s.image); err != nil {
		return err
	}
	s.writeGlobals(in)
	return nil
}

// Restore takes the instance back to the snapshot that it was captured in or
// attached to. After an error the instance is of no more use.
func (in *Instance) Restore(s *State) error {
	if err := in.memory.restore(s.image); err != nil {
		return err
	}
	s.writeGlobals(in)
	return nil
}

// Update makes the snapshot what the instance is now. No other instance may be
// attached to it. After an error the instance is of no more use.
func (in *Instance) Update(s *State) error {
	if err := in.memory.update(s.image); err != nil {
		return err
	}
	s.readGlobals(in)
	return nil
}
