// Package system is what Signalpost asks of an operating system that they do not
// all have, or do not all call the same: see proxy/docs/homes.md for what is
// missing where. (Package h1 and the store have a file of their own for theirs.)
package system
