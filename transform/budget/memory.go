package budget

import (
	"encoding/json"
	"reflect"
	"runtime"
	"weak"
)

const (
	lightBytes = 1 << 20  // of a light run
	baseBytes  = 16 << 20 // that a heavy run has from the start
	stepBytes  = 8 << 20  // by which it grows
	maxRun     = 80 << 20 // that a run may hold
	largeBytes = 16 << 10 // of an object that is counted as long as it lives
	churnBytes = 48 << 20 // of such objects made since it was last seen which of them live
	maxLooks   = 8        // for which of them live
)

// memory is what a run holds, in bytes, estimated from above.
type memory struct {
	granted int
	small   int // of small objects made so far
	large   int // of large objects that lived when that was last seen
	churn   int // of large objects made since then
	looks   int // for which of them live
	objects map[weak.Pointer[byte]]int
}

// Charge accounts for n bytes, which are about to be allocated in small
// objects. It reports whether there is room; if not, the run has ended.
func (r *Run) Charge(n int) bool {
	r.small += n
	return r.Room(0)
}

// Room is Charge for what is garbage after the next call.
func (r *Run) Room(n int) bool {
	return r.small+r.large+n <= r.granted && n >= 0 || r.grow(n)
}

// Made accounts for a string, an array or an object that was made just now, but
// not for what is in it. It reports whether there is room; if not, the run has
// ended.
func (r *Run) Made(v any) bool {
	n := Shallow(v)
	if n < largeBytes {
		return r.Charge(n)
	}
	object := weak.Make((*byte)(reflect.ValueOf(v).UnsafePointer()))
	if _, known := r.objects[object]; !known {
		if r.objects == nil {
			r.objects = make(map[weak.Pointer[byte]]int)
		}
		r.objects[object] = n
		r.large += n
		r.churn += n
	}
	return r.Room(0)
}

// Shallow is what a value takes, in bytes, without what is in it.
func Shallow(v any) int {
	switch v := v.(type) {
	case string:
		return 16 + len(v)
	case json.Number:
		return 16 + len(v)
	case []any:
		return 24 + 16*len(v)
	case map[string]any:
		return Object(len(v))
	}
	return 16
}

// Object is what an object of so many members takes, in bytes. A map of Go has
// room for eight at least.
func Object(members int) int {
	if members <= 8 {
		return 350
	}
	return 100 + 80*members
}

// grow finds room for n bytes more.
func (r *Run) grow(n int) bool {
	if r.err != nil {
		return false
	}
	if r.light {
		r.end(errHeavy)
		return false
	}
	if n < 0 || n > maxRun {
		r.end(errMemory)
		return false
	}
	if r.churn >= churnBytes && r.looks < maxLooks {
		r.collect()
	}
	need := r.small + r.large + n
	switch {
	case need <= r.granted:
		return true
	case need > maxRun:
		r.end(errMemory)
		return false
	}
	more := min((need-r.granted+stepBytes-1)/stepBytes*stepBytes, maxRun-r.granted)
	r.pause(func() {
		if err := r.session.wait(func() bool { return r.session.pool.grant(r, more) }); err != nil {
			r.end(err)
		}
	})
	return r.err == nil
}

// collect finds out which large objects still live.
func (r *Run) collect() {
	r.pause(runtime.GC)
	for object, n := range r.objects {
		if object.Value() == nil {
			delete(r.objects, object)
			r.large -= n
		}
	}
	r.churn = 0
	r.looks++
}
