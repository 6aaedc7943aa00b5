//go:build tools

// Package etcdutl pins etcd's tool for its own files, on the oracle's version of them. `.ci/tools` builds it.
package etcdutl

import (
	_ "go.etcd.io/etcd/etcdutl/v3"
)
