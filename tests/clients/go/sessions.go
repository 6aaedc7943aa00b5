package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func keptLease(ctx context.Context, client *clientv3.Client) error {
	lease, err := client.Grant(ctx, 2)
	if err != nil {
		return err
	}
	keepCtx, stop := context.WithCancel(ctx)
	defer stop()
	alive, err := client.KeepAlive(keepCtx, lease.ID)
	if err != nil {
		return err
	}
	go func() {
		for range alive {
		}
	}()
	if err := put(ctx, client, "kept", "x", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	time.Sleep(5 * time.Second)
	if got, err := client.Get(ctx, "kept"); err != nil || got.Count != 1 {
		return fmt.Errorf("a kept lease ended: %v", err)
	}
	watch := client.Watch(ctx, "kept")
	stop()
	select {
	case response := <-watch:
		if len(response.Events) != 1 || response.Events[0].Type != clientv3.EventTypeDelete {
			return fmt.Errorf("expected the end of the key: %v", response)
		}
	case <-time.After(20 * time.Second):
		return fmt.Errorf("a lease that nobody keeps does not end")
	}
	left, err := client.TimeToLive(ctx, lease.ID)
	if err != nil || left.TTL != -1 {
		return fmt.Errorf("an ended lease has %v to live, %v", left, err)
	}
	return nil
}

// keptOverRestart lets the server be away while a lease is kept.
func keptOverRestart(ctx context.Context, client *clientv3.Client) error {
	lease, err := client.Grant(ctx, 5)
	if err != nil {
		return err
	}
	alive, err := client.KeepAlive(ctx, lease.ID)
	if err != nil {
		return err
	}
	if err := put(ctx, client, "kept over", "x", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	<-alive
	if err := ask("RESTART"); err != nil {
		return err
	}
	// The answers that came before the restart are at most as many as the channel holds.
	deadline := time.After(7 * time.Second)
	for last := time.Now(); ; {
		select {
		case answer, open := <-alive:
			if !open || answer.TTL != 5 {
				return fmt.Errorf("the lease is not kept any more: %v", answer)
			}
			last = time.Now()
		case <-deadline:
			got, err := client.Get(ctx, "kept over")
			if err != nil || got.Count != 1 || time.Since(last) > 3*time.Second {
				return fmt.Errorf("a kept lease ended: %v, %v since the last answer", err, time.Since(last))
			}
			_, err = client.Revoke(ctx, lease.ID)
			return err
		}
	}
}

func mutex(ctx context.Context, client *clientv3.Client) error {
	var inside atomic.Int32
	var group sync.WaitGroup
	failures := make(chan error, 100)
	for worker := 0; worker < 5; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			session, err := concurrency.NewSession(client, concurrency.WithTTL(10))
			if err != nil {
				failures <- err
				return
			}
			defer session.Close()
			lock := concurrency.NewMutex(session, "lock")
			for round := 0; round < 5; round++ {
				if err := lock.Lock(ctx); err != nil {
					failures <- err
					return
				}
				if inside.Add(1) != 1 {
					failures <- fmt.Errorf("two hold the lock")
				}
				inside.Add(-1)
				if err := lock.Unlock(ctx); err != nil {
					failures <- err
					return
				}
			}
		}()
	}
	group.Wait()
	close(failures)
	return <-failures
}

func election(ctx context.Context, client *clientv3.Client) error {
	first, err := concurrency.NewSession(client, concurrency.WithTTL(10))
	if err != nil {
		return err
	}
	second, err := concurrency.NewSession(client, concurrency.WithTTL(10))
	if err != nil {
		return err
	}
	defer second.Close()
	if err := concurrency.NewElection(first, "office").Campaign(ctx, "first"); err != nil {
		return err
	}
	won := make(chan error, 1)
	runner := concurrency.NewElection(second, "office")
	go func() { won <- runner.Campaign(ctx, "second") }()
	select {
	case err := <-won:
		return fmt.Errorf("two in office: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := first.Close(); err != nil {
		return err
	}
	if err := <-won; err != nil {
		return err
	}
	leader, err := runner.Leader(ctx)
	if err != nil || string(leader.Kvs[0].Value) != "second" {
		return fmt.Errorf("the leader is %v, %v", leader, err)
	}
	return runner.Resign(ctx)
}

func tryMutex(ctx context.Context, client *clientv3.Client) error {
	one, err := concurrency.NewSession(client)
	if err != nil {
		return err
	}
	two, err := concurrency.NewSession(client)
	if err != nil {
		return err
	}
	defer two.Close()
	first, second := concurrency.NewMutex(one, "try"), concurrency.NewMutex(two, "try")
	if err := first.TryLock(ctx); err != nil {
		return err
	}
	saw("the second", second.TryLock(ctx))
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	saw("the second, waiting a little", second.Lock(short))
	if left, err := client.Get(ctx, "try/", clientv3.WithPrefix()); err != nil || left.Count != 1 {
		return fmt.Errorf("who gave up left a key: %v %v", left, err)
	}
	guarded, err := client.Txn(ctx).If(first.IsOwner()).Then(clientv3.OpPut("guarded", "by the first")).Commit()
	if err != nil || !guarded.Succeeded {
		return fmt.Errorf("the owner may not write: %v", err)
	}
	if err := one.Close(); err != nil {
		return err
	}
	if err := second.Lock(ctx); err != nil {
		return err
	}
	guarded, err = client.Txn(ctx).If(first.IsOwner()).Then(clientv3.OpPut("guarded", "after the end")).Commit()
	if err != nil || guarded.Succeeded {
		return fmt.Errorf("who lost the lock wrote: %v", err)
	}
	return second.Unlock(ctx)
}

// observe follows an election through proclamations, a resumption and a new leader.
func observe(ctx context.Context, client *clientv3.Client) error {
	session, err := concurrency.NewSession(client)
	if err != nil {
		return err
	}
	defer session.Close()
	watched := concurrency.NewElection(session, "observed")
	_, err = watched.Leader(ctx)
	saw("nobody yet", err)
	seen := watched.Observe(ctx)
	next := func() string { return string((<-seen).Kvs[0].Value) }
	leader := concurrency.NewElection(session, "observed")
	if err := leader.Campaign(ctx, "one"); err != nil {
		return err
	}
	saw("observed", next())
	if err := leader.Proclaim(ctx, "two"); err != nil {
		return err
	}
	saw("observed", next())
	resumed := concurrency.ResumeElection(session, "observed", leader.Key(), leader.Rev())
	if err := resumed.Proclaim(ctx, "three"); err != nil {
		return err
	}
	saw("observed", next())
	if err := resumed.Resign(ctx); err != nil {
		return err
	}
	saw("after the end", leader.Proclaim(ctx, "four"))
	other, err := concurrency.NewSession(client)
	if err != nil {
		return err
	}
	defer other.Close()
	if err := concurrency.NewElection(other, "observed").Campaign(ctx, "five"); err != nil {
		return err
	}
	saw("observed", next())
	return nil
}

// lostSession takes a session's lease away under its holder.
func lostSession(ctx context.Context, client *clientv3.Client) error {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(5))
	if err != nil {
		return err
	}
	lock := concurrency.NewMutex(session, "lost")
	if err := lock.Lock(ctx); err != nil {
		return err
	}
	if _, err := client.Revoke(ctx, session.Lease()); err != nil {
		return err
	}
	select {
	case <-session.Done():
	case <-ctx.Done():
		return errors.New("the session does not notice that its lease is gone")
	}
	got, err := client.Get(ctx, lock.Key())
	if err != nil || got.Count != 0 {
		return fmt.Errorf("the lock outlived its lease: %v", err)
	}
	_, err = client.KeepAliveOnce(ctx, session.Lease())
	saw("kept once more", err)
	again, err := concurrency.NewSession(client, concurrency.WithLease(session.Lease()))
	if err != nil {
		return err
	}
	saw("locked with the dead lease", concurrency.NewMutex(again, "lost").TryLock(ctx))
	return nil
}
