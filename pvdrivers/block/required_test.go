//go:build kvmhost

package block

const ringRequired = true
