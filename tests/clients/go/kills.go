package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// underKills counts under a lock, with a fence, while the server is killed twice: nothing that was
// acknowledged is lost, and only the holder of the lock writes.
func underKills(ctx context.Context, client *clientv3.Client) error {
	const workers, rounds = 4, 30
	if err := put(ctx, client, "counter", "0"); err != nil {
		return err
	}
	var done, unsure atomic.Int32
	killed := make(chan error, 1)
	go func() {
		for _, at := range []int32{workers * rounds / 4, workers * rounds / 2} {
			for done.Load() < at && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			if err := ask("KILL"); err != nil {
				killed <- err
				return
			}
		}
		killed <- nil
	}()
	err := all(workers, func(int) error {
		session, err := concurrency.NewSession(client, concurrency.WithTTL(30))
		if err != nil {
			return err
		}
		lock := concurrency.NewMutex(session, "counting")
		for round := 0; round < rounds; {
			if err := lockAgain(ctx, lock); err != nil {
				return err
			}
			counted, err := count(ctx, client, lock)
			switch {
			case err != nil:
				// It may have happened: the bounds below allow for one.
				unsure.Add(1)
			case counted:
				round++
				done.Add(1)
			default:
				return fmt.Errorf("the lock was lost")
			}
			for lock.Unlock(ctx) != nil && ctx.Err() == nil {
				time.Sleep(20 * time.Millisecond)
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if err := <-killed; err != nil {
		return err
	}
	got, err := client.Get(ctx, "counter")
	if err != nil {
		return err
	}
	total, _ := strconv.Atoi(string(got.Kvs[0].Value))
	if total < workers*rounds || total > workers*rounds+int(unsure.Load()) {
		return fmt.Errorf("%d counted, %d acknowledged, %d unsure", total, done.Load(), unsure.Load())
	}
	saw("acknowledged", done.Load())
	return nil
}

// lockAgain waits until the lock is ours, however often the server goes away meanwhile.
func lockAgain(ctx context.Context, lock *concurrency.Mutex) error {
	for {
		err := lock.Lock(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// count adds one if the lock is still ours.
func count(ctx context.Context, client *clientv3.Client, lock *concurrency.Mutex) (bool, error) {
	got, err := client.Get(ctx, "counter")
	if err != nil {
		return false, err
	}
	before := got.Kvs[0]
	value, _ := strconv.Atoi(string(before.Value))
	txn, err := client.Txn(ctx).
		If(lock.IsOwner(), clientv3.Compare(clientv3.ModRevision("counter"), "=", before.ModRevision)).
		Then(clientv3.OpPut("counter", strconv.Itoa(value+1))).
		Commit()
	if err != nil {
		return false, err
	}
	return txn.Succeeded, nil
}
