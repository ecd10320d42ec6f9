// Package agenttest holds fakes of the agent's parts for tests of the agent alone: nothing needs root, nothing takes
// time, and every step can be held up or made to fail.
package agenttest
