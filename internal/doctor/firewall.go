package doctor

// firewallChecks look at the rules of the host that a bridged frame meets.
var firewallChecks = []check{}
