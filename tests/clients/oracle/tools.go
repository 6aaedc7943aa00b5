//go:build tools

// Package oracle pins the etcd server that Bramble is compared with. Nothing here is compiled into
// Bramble; `.ci/tools` builds the server from this module's go.sum.
package oracle

import (
	_ "go.etcd.io/etcd/server/v3"
)
