// Package terminal gives a guest's console the admin's terminal: raw mode that is
// undone whatever happens, the escape key that detaches, and window sizes.
package terminal
