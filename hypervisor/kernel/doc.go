// Package kernel is what Gozen takes from Debian's kernel package.
//
// The package has some four thousand modules; Gozen's image holds those that
// modules.txt lists, each with a reason, and what they depend on. List parses
// that file. A Tree is the unpacked package's module directory: it reads what
// each module says about itself (its .modinfo section), so that the closure and
// the index files that a module loader reads (modules.dep, modules.alias) need
// no depmod and hold only what the image holds.
package kernel
