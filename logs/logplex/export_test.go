package logplex

// RetryAfter is for the tests.
var RetryAfter = retryAfter
