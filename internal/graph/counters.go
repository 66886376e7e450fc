package graph

// Counters are how many bytes a node has received and sent since it was made.
type Counters struct{ Received, Sent uint64 }
