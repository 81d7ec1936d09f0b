// Package jail starts a program in an empty room.
//
// The program has the descriptors it is given and nothing else: a user of its
// own without capabilities or a way to get any, an empty read-only root
// directory, no network, no processes but itself, no shared memory of others.
// Its memory and processor time are bounded by its control group.
//
// Most of that must be done by the process itself before it becomes the
// program. So the daemon starts itself again under another name (Main takes
// over then), in new namespaces and in the control group; that stage empties
// the room, gives up all rights and executes the program by its descriptor,
// since no name leads to it any more. If a step fails the stage says which
// through a pipe that the program never sees.
package jail
