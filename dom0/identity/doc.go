// Package identity says who is who between an admin and a host.
//
// The admin side owns a certificate authority (NewCA) and issues two kinds of
// leaves from it: admins (client authentication only) and hosts (server
// authentication only). The host knows the authority's certificate from its
// seed and lets nobody else finish a TLS handshake (ServerConfig). The admin
// side trusts a host in one of two ways (Trust): its certificate comes from the
// authority, or, for a host that made its own certificate at first boot, its
// SHA-256 fingerprint is the one shown on the host's console.
//
// A host's addresses come by DHCP and change, so a client does not check them:
// every host certificate carries the name ServerName, and that is the name
// clients ask for. Keys are ECDSA P-256, which every TLS 1.3 client speaks.
package identity
