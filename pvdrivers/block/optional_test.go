//go:build !kvmhost

package block

const ringRequired = false
