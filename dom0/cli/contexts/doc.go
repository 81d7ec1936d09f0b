// Package contexts keeps what the admin host knows about Gozen hosts.
//
// A context is an address and the identity to use there. The store is a
// directory that only its owner can read:
//
//	current                      name of the context in use
//	contexts/NAME/context.json   address, server name, fingerprint
//	contexts/NAME/ca.pem         CA that signed the host's certificate (optional)
//	contexts/NAME/cert.pem       the admin's certificate
//	contexts/NAME/key.pem        the admin's private key, mode 0600
//
// The PEM files are copies, so a context goes on working when the files it was
// made from are gone, and curl can use them as they are.
package contexts
