package undo

// Stack holds what would have to be done to take back what was done so far. Use:
//
//	var u undo.Stack
//	defer u.Run()
//	… u.Add(…) after each step …
//	u.Release() // all went well
//
// The zero Stack is empty. It is for one goroutine.
type Stack struct{ steps []func() }

// Add notes how to take back the step just done.
func (s *Stack) Add(f func()) { s.steps = append(s.steps, f) }

// Run takes everything back, the last step first. The stack is then empty.
func (s *Stack) Run() {
	for i := len(s.steps) - 1; i >= 0; i-- {
		s.steps[i]()
	}
	s.steps = nil
}

// Release forgets the steps: they stay done.
func (s *Stack) Release() { s.steps = nil }
