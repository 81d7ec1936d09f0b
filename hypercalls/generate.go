package hypercalls

//go:generate ./generate.sh
