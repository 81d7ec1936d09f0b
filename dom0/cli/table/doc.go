// Package table lays out rows for people: aligned columns, two spaces apart,
// that fit into a given width by shortening what may be shortened.
package table
