// Package yamlfile reads the YAML files that people write for gopipework. It knows no
// file in particular: it reads maps, lists and words, and whatever is wrong has its place,
// the name of the file, the line and the column. All problems of a file are told, not only
// the first.
//
// A file means what is written in it: aliases, anchors and tags are refused, and with them
// the files that are small on the disk and large in memory.
package yamlfile
