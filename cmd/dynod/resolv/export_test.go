package resolv

// Host is open to the tests, which are outside of the package.
var Host = host
