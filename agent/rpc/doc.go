// Package rpc is the wire: the gRPC server that takes orders and answers questions, the client that reports and ships
// logs upstream, the conversion between the words of proto/dynod/v1 and the agent's own, and who may speak. It decides
// nothing about dynos. It is the only importer of proto in the daemon.
package rpc
