package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
)

// transfers moves money between accounts from many sides; none may be made or lost.
func transfers(ctx context.Context, client *clientv3.Client) error {
	const accounts, workers, rounds, start = 5, 6, 25, 100
	for i := 0; i < accounts; i++ {
		if err := put(ctx, client, fmt.Sprintf("account/%d", i), strconv.Itoa(start)); err != nil {
			return err
		}
	}
	failures := make(chan error, workers)
	for worker := 0; worker < workers; worker++ {
		go func() {
			for round := 0; round < rounds; round++ {
				from := fmt.Sprintf("account/%d", (worker+round)%accounts)
				to := fmt.Sprintf("account/%d", (worker+3*round+1)%accounts)
				_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
					if from == to {
						return nil
					}
					left, _ := strconv.Atoi(stm.Get(from))
					right, _ := strconv.Atoi(stm.Get(to))
					stm.Put(from, strconv.Itoa(left-1))
					stm.Put(to, strconv.Itoa(right+1))
					return nil
				}, concurrency.WithIsolation(concurrency.SerializableSnapshot), concurrency.WithAbortContext(ctx))
				if err != nil {
					failures <- err
					return
				}
			}
			failures <- nil
		}()
	}
	for worker := 0; worker < workers; worker++ {
		if err := <-failures; err != nil {
			return err
		}
	}
	got, err := client.Get(ctx, "account/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	sum := 0
	for _, kv := range got.Kvs {
		amount, _ := strconv.Atoi(string(kv.Value))
		sum += amount
	}
	if sum != accounts*start {
		return fmt.Errorf("%d accounts hold %d", accounts, sum)
	}
	return nil
}

// isolation has a second writer change what a transaction has read, while it still runs.
func isolation(ctx context.Context, client *clientv3.Client) error {
	levels := map[string]concurrency.Isolation{
		"1 read committed":        concurrency.ReadCommitted,
		"2 repeatable reads":      concurrency.RepeatableReads,
		"3 serializable":          concurrency.Serializable,
		"4 serializable snapshot": concurrency.SerializableSnapshot,
	}
	for _, name := range []string{"1 read committed", "2 repeatable reads", "3 serializable", "4 serializable snapshot"} {
		for _, key := range []string{"x", "y"} {
			if err := put(ctx, client, "stm/"+key, "old"); err != nil {
				return err
			}
		}
		var reads []string
		_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
			first := stm.Get("stm/x")
			if len(reads) == 0 {
				if err := put(ctx, client, "stm/x", "new"); err != nil {
					return err
				}
				if err := put(ctx, client, "stm/y", "new"); err != nil {
					return err
				}
			}
			reads = append(reads, fmt.Sprintf("x=%s y=%s x=%s", first, stm.Get("stm/y"), stm.Get("stm/x")))
			stm.Put("stm/z", first)
			stm.Del("stm/gone")
			return nil
		}, concurrency.WithIsolation(levels[name]), concurrency.WithAbortContext(ctx), concurrency.WithPrefetch("stm/x"))
		if err != nil {
			return err
		}
		got, err := client.Get(ctx, "stm/z")
		if err != nil {
			return err
		}
		saw(name, fmt.Sprintf("%q, written %s", reads, got.Kvs[0].Value))
	}
	return nil
}

// queue has many givers and takers; each thing is taken once.
func queue(ctx context.Context, client *clientv3.Client) error {
	const givers, takers, each = 3, 3, 10
	taken := make(chan string, givers*each)
	err := all(givers+takers, func(i int) error {
		own := recipe.NewQueue(client, "queue")
		for n := range each {
			if i < givers {
				if err := own.Enqueue(strconv.Itoa(i*each + n)); err != nil {
					return err
				}
				continue
			}
			thing, err := own.Dequeue()
			if err != nil {
				return err
			}
			taken <- thing
		}
		return nil
	})
	close(taken)
	seen := map[string]bool{}
	for thing := range taken {
		if seen[thing] {
			return fmt.Errorf("%s was taken twice", thing)
		}
		seen[thing] = true
	}
	saw("things taken", len(seen))
	left, getErr := client.Get(ctx, "queue", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err == nil && (getErr != nil || left.Count != 0) {
		err = fmt.Errorf("left in the queue: %v %v", left, getErr)
	}
	return err
}

func priorityQueue(ctx context.Context, client *clientv3.Client) error {
	own := recipe.NewPriorityQueue(client, "priority")
	for _, thing := range []struct {
		name     string
		priority uint16
	}{{"third", 5}, {"fourth", 5}, {"first", 0}, {"last", 65535}, {"second", 1}} {
		if err := own.Enqueue(thing.name, thing.priority); err != nil {
			return err
		}
	}
	var order []string
	for range 5 {
		thing, err := own.Dequeue()
		if err != nil {
			return err
		}
		order = append(order, thing)
	}
	saw("order", order)
	// A taker that waits gets what comes.
	waiting := make(chan string, 1)
	go func() {
		thing, _ := own.Dequeue()
		waiting <- thing
	}()
	if err := recipe.NewPriorityQueue(client, "priority").Enqueue("late", 9); err != nil {
		return err
	}
	select {
	case thing := <-waiting:
		saw("a waiting taker", thing)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func barrier(ctx context.Context, client *clientv3.Client) error {
	held := recipe.NewBarrier(client, "barrier")
	if err := held.Hold(); err != nil {
		return err
	}
	saw("held twice", recipe.NewBarrier(client, "barrier").Hold())
	through := make(chan error, 5)
	for range 5 {
		go func() { through <- recipe.NewBarrier(client, "barrier").Wait() }()
	}
	select {
	case err := <-through:
		return fmt.Errorf("somebody went through a held barrier: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := held.Release(); err != nil {
		return err
	}
	for range 5 {
		if err := <-through; err != nil {
			return err
		}
	}
	return recipe.NewBarrier(client, "barrier").Wait()
}

// doubleBarrier lets nobody in before all are there, and nobody out before all want to go.
func doubleBarrier(ctx context.Context, client *clientv3.Client) error {
	const count = 4
	inside, ready := make(chan struct{}, count), make(chan struct{}, count)
	err := all(count, func(i int) error {
		session, err := concurrency.NewSession(client)
		if err != nil {
			return err
		}
		defer session.Close()
		own := recipe.NewDoubleBarrier(session, "double", count)
		ready <- struct{}{}
		if err := own.Enter(); err != nil {
			return err
		}
		if len(ready) != count {
			return fmt.Errorf("%d went in when %d were there", i, len(ready))
		}
		inside <- struct{}{}
		if err := own.Leave(); err != nil {
			return err
		}
		if len(inside) != count {
			return fmt.Errorf("%d left when %d had been inside", i, len(inside))
		}
		return nil
	})
	saw("inside", len(inside))
	return err
}

func readersWriters(ctx context.Context, client *clientv3.Client) error {
	open := func() (*recipe.RWMutex, *concurrency.Session, error) {
		session, err := concurrency.NewSession(client)
		if err != nil {
			return nil, nil, err
		}
		return recipe.NewRWMutex(session, "readers"), session, nil
	}
	var locks []*recipe.RWMutex
	for range 3 {
		lock, session, err := open()
		if err != nil {
			return err
		}
		defer session.Close()
		locks = append(locks, lock)
	}
	if err := locks[0].RLock(); err != nil {
		return err
	}
	if err := locks[1].RLock(); err != nil {
		return err
	}
	written := make(chan error, 1)
	go func() { written <- locks[2].Lock() }()
	for _, reader := range locks[:2] {
		select {
		case err := <-written:
			return fmt.Errorf("a writer beside readers: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		if err := reader.RUnlock(); err != nil {
			return err
		}
	}
	if err := <-written; err != nil {
		return err
	}
	read := make(chan error, 1)
	go func() { read <- locks[0].RLock() }()
	select {
	case err := <-read:
		return fmt.Errorf("a reader beside a writer: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := locks[2].Unlock(); err != nil {
		return err
	}
	return <-read
}
