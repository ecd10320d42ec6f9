// Package dyno holds the nouns and the rules of a dyno: what is ordered (Spec), what is remembered (Record), which
// phase may follow which, what an exit means, when a crash is followed by another start, what a restarted agent does
// with what it finds, and the exact lines an app's owner reads. It does no I/O and never asks for the time.
package dyno
