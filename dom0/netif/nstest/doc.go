// Package nstest runs tests in network namespaces of their own, as root.
//
// A package's TestMain calls Main, which starts the test binary again in fresh
// network and mount namespaces: a test may then do with interfaces, routes and
// firewall rules what it wants. Further namespaces stand for other machines.
package nstest
