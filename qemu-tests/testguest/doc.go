// Command testguest is the init of the system tests' small guest.
//
// It loads the modules of /etc/gozen/modules.load, mounts what it needs, and then obeys one
// command a line on its console, answering each with lines of output and a last
// line "ok" or "error: …". Tests drive it through the API's console, as a person
// would. It does by itself what an orderly guest does: it powers off when the ACPI
// power button is pressed.
package main
