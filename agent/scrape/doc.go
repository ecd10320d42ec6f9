// Package scrape reads what the agent's parts know of themselves whenever operators ask for its metrics, and serves
// them over HTTP. Nothing is counted for it beforehand, and no metric names a dyno.
package scrape
