// Package topology reads and writes the file that says which attachments there are to
// be: the bridges, the lines that give guests an interface, and the links between guests.
//
// An entry is a line as a person types it. A map in the file is only another way to write
// one: its keys are the long flags, so it is turned into the words of a line, and what
// reads a typed line reads it as well. What is wrong with a file has its place in it: the
// name of the file, the line and the column.
//
// The package looks at nothing but the file. Package reconcile makes the host as it says.
package topology
