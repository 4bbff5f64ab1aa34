// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"errors"
	"sync"
)

// awaited is a part of the server that may come after the start, such as the
// rooms while their database cannot be reached. Who needs it says with when
// what is to be done then.
type awaited[T any] struct {
	mu      sync.Mutex
	there   bool
	value   T
	waiting []func(T) error // what is to be done, or failed and is tried again
}

// get returns the value, or none.
func (a *awaited[T]) get() T {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.value
}

// when runs do at once if the value is there, and returns its error; otherwise
// it leaves do to set.
func (a *awaited[T]) when(do func(T) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.there {
		return do(a.value)
	}
	a.waiting = append(a.waiting, do)
	return nil
}

// set gives the value and does what waits for it. What fails goes on waiting:
// set may be called with the same value until it returns nil.
func (a *awaited[T]) set(value T) error {
	a.mu.Lock()
	a.there, a.value = true, value
	todo := a.waiting
	a.waiting = nil
	a.mu.Unlock()
	var problems []error
	for _, do := range todo {
		if err := do(value); err != nil {
			problems = append(problems, err)
			a.mu.Lock()
			a.waiting = append(a.waiting, do)
			a.mu.Unlock()
		}
	}
	return errors.Join(problems...)
}
