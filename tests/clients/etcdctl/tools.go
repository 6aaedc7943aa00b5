//go:build tools

// Package etcdctl pins the newest etcdctl, the client most people meet first. `.ci/tools` builds it.
package etcdctl

import (
	_ "go.etcd.io/etcd/etcdctl/v3"
)
