// Package quantity writes amounts of bytes for people.
package quantity
