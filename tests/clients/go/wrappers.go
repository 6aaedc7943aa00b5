package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/ordering"
)

// leases lets two caches own keys in turn; a write through one must be seen through the other.
func leases(ctx context.Context, client *clientv3.Client) error {
	one, closeOne, err := leasing.NewKV(client, "leasing/")
	if err != nil {
		return err
	}
	defer closeOne()
	other := connect()
	defer other.Close()
	two, closeTwo, err := leasing.NewKV(other, "leasing/")
	if err != nil {
		return err
	}
	defer closeTwo()
	for i := 0; i < 20; i++ {
		key, value := fmt.Sprintf("cached/%d", i%4), strconv.Itoa(i)
		if _, err := one.Get(ctx, key); err != nil {
			return err
		}
		if _, err := two.Put(ctx, key, value); err != nil {
			return err
		}
		got, err := one.Get(ctx, key)
		if err != nil {
			return err
		}
		if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != value {
			return fmt.Errorf("%s is %v, written was %s", key, got.Kvs, value)
		}
		one, two = two, one
	}
	txn, err := one.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("cached/3"), "=", "19")).
		Then(clientv3.OpPut("cached/3", "done"), clientv3.OpDelete("cached/2")).
		Commit()
	if err != nil || !txn.Succeeded {
		return fmt.Errorf("a transaction through the cache: %v %v", txn, err)
	}
	if got, err := two.Get(ctx, "cached/3"); err != nil || string(got.Kvs[0].Value) != "done" {
		return fmt.Errorf("after the transaction: %v %v", got, err)
	}
	if got, err := two.Get(ctx, "cached/2"); err != nil || len(got.Kvs) != 0 {
		return fmt.Errorf("after the delete: %v %v", got, err)
	}
	return nil
}

// namespaces puts a prefix before every key, in transactions, watches and leases too.
func namespaces(ctx context.Context, client *clientv3.Client) error {
	own := connect()
	defer own.Close()
	own.KV = namespace.NewKV(own.KV, "tenant/")
	own.Watcher = namespace.NewWatcher(own.Watcher, "tenant/")
	own.Lease = namespace.NewLease(own.Lease, "tenant/")
	watch := own.Watch(ctx, "", clientv3.WithFromKey())
	lease, err := own.Grant(ctx, 60)
	if err != nil {
		return err
	}
	if _, err := client.Put(ctx, "tenant0", "not in the namespace"); err != nil {
		return err
	}
	if _, err := own.Put(ctx, "a", "1", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	txn, err := own.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("a"), "=", "1"), clientv3.Compare(clientv3.CreateRevision("c").WithPrefix(), "=", 0)).
		Then(clientv3.OpPut("b", "2"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet("", clientv3.WithPrefix())}, nil)).
		Commit()
	if err != nil {
		return err
	}
	for _, kv := range txn.Responses[1].GetResponseTxn().Responses[0].GetResponseRange().Kvs {
		saw("in the transaction", string(kv.Key))
	}
	outside, err := client.Get(ctx, "tenant/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	for _, kv := range outside.Kvs {
		saw("outside", string(kv.Key))
	}
	left, err := own.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	saw("keys of the lease", fmt.Sprintf("%s", left.Keys))
	gone, err := own.Delete(ctx, "", clientv3.WithFromKey())
	if err != nil {
		return err
	}
	saw("deleted", gone.Deleted)
	saw("watched", events(watch, 4))
	return nil
}

// mirrors reads a base in pages of 1,000 while it is written to, and then what has changed since.
func mirrors(ctx context.Context, client *clientv3.Client) error {
	const keys = 2500
	err := all(5, func(part int) error {
		for i := part; i < keys; i += 5 {
			if _, err := client.Put(ctx, fmt.Sprintf("mirrored/%04d", i), "base"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	syncer := mirror.NewSyncer(client, "mirrored/", 0)
	pages, failures := syncer.SyncBase(ctx)
	copied := map[string]string{}
	var sizes []int
	for page := range pages {
		sizes = append(sizes, len(page.Kvs))
		for _, kv := range page.Kvs {
			copied[string(kv.Key)] = string(kv.Value)
		}
		// What is written now is no part of the base.
		if _, err := client.Put(ctx, fmt.Sprintf("mirrored/new%d", len(sizes)), "later"); err != nil {
			return err
		}
	}
	if err := <-failures; err != nil {
		return err
	}
	saw("pages", sizes)
	saw("later", events(syncer.SyncUpdates(ctx), len(sizes)))
	if len(copied) != keys {
		return fmt.Errorf("%d of %d keys", len(copied), keys)
	}
	return nil
}

// orders refuses a store that goes back.
func orders(ctx context.Context, client *clientv3.Client) error {
	backwards := func(clientv3.Op, clientv3.OpResponse, int64) error { return errors.New("the store went back") }
	own := ordering.NewKV(client.KV, backwards)
	for i := range 50 {
		if _, err := client.Put(ctx, "ordered", strconv.Itoa(i)); err != nil {
			return err
		}
		got, err := own.Get(ctx, "ordered", clientv3.WithSerializable())
		if err != nil {
			return err
		}
		if string(got.Kvs[0].Value) != strconv.Itoa(i) {
			return fmt.Errorf("%s after %d was written", got.Kvs[0].Value, i)
		}
		if _, err := own.Txn(ctx).Then(clientv3.OpGet("ordered")).Commit(); err != nil {
			return err
		}
	}
	return nil
}

// names keeps addresses of a service, as gRPC's name resolver for etcd does.
func names(ctx context.Context, client *clientv3.Client) error {
	service, err := endpoints.NewManager(client, "service")
	if err != nil {
		return err
	}
	lease, err := client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	watch, err := service.NewWatchChannel(ctx)
	if err != nil {
		return err
	}
	one := endpoints.Endpoint{Addr: "192.0.2.1:80", Metadata: "one"}
	if err := service.AddEndpoint(ctx, "service/one", one, clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	if err := service.AddEndpoint(ctx, "service/two", endpoints.Endpoint{Addr: "192.0.2.2:80"}); err != nil {
		return err
	}
	known, err := service.List(ctx)
	if err != nil {
		return err
	}
	saw("known", known)
	if _, err := client.Revoke(ctx, lease.ID); err != nil {
		return err
	}
	seen := map[endpoints.Operation]int{}
	for seen[endpoints.Delete] == 0 {
		for _, update := range <-watch {
			seen[update.Op]++
		}
	}
	saw("added and deleted", seen)
	return service.DeleteEndpoint(ctx, "service/two")
}

// optimistic is the interface that Kubernetes' API server uses.
func optimistic(ctx context.Context, _ *clientv3.Client) error {
	client, err := kubernetes.New(config())
	if err != nil {
		return err
	}
	defer client.Close()
	store := client.Kubernetes
	first, err := store.OptimisticPut(ctx, "pods/a", []byte("1"), 0, kubernetes.PutOptions{})
	if err != nil || !first.Succeeded {
		return fmt.Errorf("the first put: %v %v", first, err)
	}
	again, err := store.OptimisticPut(ctx, "pods/a", []byte("2"), 0, kubernetes.PutOptions{GetOnFailure: true})
	if err != nil || again.Succeeded || string(again.KV.Value) != "1" {
		return fmt.Errorf("a put over what is there: %v %v", again, err)
	}
	for i := range 7 {
		if _, err := store.OptimisticPut(ctx, fmt.Sprintf("pods/b%d", i), nil, 0, kubernetes.PutOptions{}); err != nil {
			return err
		}
	}
	var listed []string
	options := kubernetes.ListOptions{Limit: 3}
	for {
		page, err := store.List(ctx, "pods/", options)
		if err != nil {
			return err
		}
		for _, kv := range page.Kvs {
			listed = append(listed, string(kv.Key))
		}
		saw("to come", page.Count)
		if int(page.Count) == len(page.Kvs) {
			break
		}
		options.Revision = page.Revision
		options.Continue = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
	saw("listed", listed)
	if !slices.IsSorted(listed) {
		return errors.New("a list is in order of keys")
	}
	kept, err := store.OptimisticDelete(ctx, "pods/a", first.Revision+1, kubernetes.DeleteOptions{GetOnFailure: true})
	if err != nil || kept.Succeeded || kept.KV == nil {
		return fmt.Errorf("a delete of another version: %v %v", kept, err)
	}
	gone, err := store.OptimisticDelete(ctx, "pods/a", first.Revision, kubernetes.DeleteOptions{})
	count, countErr := store.Count(ctx, "pods/", kubernetes.CountOptions{})
	saw("deleted, left", []any{gone.Succeeded, count})
	return errors.Join(err, countErr)
}
