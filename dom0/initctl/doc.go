// Package initctl is how the daemon and PID 1 talk.
//
// PID 1 listens on the Unix socket SocketPath and accepts connections of root
// only. A connection carries one Request and one Response, each a line of JSON.
//
// The other direction uses signals. SIGTERM tells the daemon to end at once and
// leave its guests running (it will be started again, or the machine is going
// down and the guests are stopped already). SIGPWR and SIGUSR1 tell it that the
// machine is to go down, for a power-off or a reboot (a power button, or
// Ctrl-Alt-Del on the console): it stops its guests in order and then sends
// OpPowerOff or OpReboot. PID 1 waits StopGuestsTimeout for that, then goes on
// by itself.
package initctl
