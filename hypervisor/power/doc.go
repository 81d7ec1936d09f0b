// Package power is how a guest switches itself off, resets itself, and hears of
// its power button: the registers of hardware-reduced ACPI (ACPI 6.5, 4.8.3.7 and
// 4.8.3.6) and the event register of the Generic Event Device, as the tables of
// package acpi describe them.
package power
