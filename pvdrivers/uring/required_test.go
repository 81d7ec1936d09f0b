//go:build kvmhost

package uring

const ringRequired = true
