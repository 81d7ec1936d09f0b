// Package undo takes back, in reverse order, what was done before something failed.
package undo
