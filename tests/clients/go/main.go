// Command goclient drives the server at BRAMBLE_ENDPOINT with etcd's own Go client: watches that outlive
// a restart, transactional memory, leasing, locks, elections, kept leases. It prints a line per part and
// ends with status 1 at the first wrong answer.
//
// When it needs the server restarted it prints RESTART and waits for a line on its standard input.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.uber.org/zap"
)

var answers = bufio.NewScanner(os.Stdin)

func main() {
	parts := []struct {
		name string
		run  func(context.Context, *clientv3.Client) error
	}{
		{"watch over a restart", watchOverRestart},
		{"kept lease", keptLease},
		{"transactional memory", transfers},
		{"leasing", leases},
		{"mutex", mutex},
		{"election", election},
	}
	client := connect()
	defer client.Close()
	for _, part := range parts {
		started := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		err := part.run(ctx, client)
		cancel()
		if err != nil {
			fmt.Printf("FAIL %s: %v\n", part.name, err)
			os.Exit(1)
		}
		fmt.Printf("ok %s (%v)\n", part.name, time.Since(started).Round(time.Millisecond))
	}
}

func connect() *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{os.Getenv("BRAMBLE_ENDPOINT")},
		DialTimeout: 5 * time.Second,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		fmt.Printf("FAIL connect: %v\n", err)
		os.Exit(1)
	}
	return client
}

func restart() error {
	fmt.Println("RESTART")
	if !answers.Scan() {
		return fmt.Errorf("nobody restarted the server: %v", answers.Err())
	}
	return nil
}

// put retries while the server is away: the client itself never repeats a write.
func put(ctx context.Context, client *clientv3.Client, key, value string, options ...clientv3.OpOption) error {
	for {
		_, err := client.Put(ctx, key, value, options...)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func watchOverRestart(ctx context.Context, client *clientv3.Client) error {
	const half = 50
	first, err := client.Put(ctx, "watched", "0")
	if err != nil {
		return err
	}
	watchCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := client.Watch(watchCtx, "watched", clientv3.WithRev(first.Header.Revision+1), clientv3.WithPrevKV())
	later := client.Watch(watchCtx, "lat", clientv3.WithPrefix())
	writes := make(chan error, 1)
	go func() {
		for i := 1; i <= half; i++ {
			if err := put(ctx, client, "watched", strconv.Itoa(i)); err != nil {
				writes <- err
				return
			}
		}
		if err := restart(); err != nil {
			writes <- err
			return
		}
		for i := half + 1; i <= 2*half; i++ {
			if err := put(ctx, client, "watched", strconv.Itoa(i)); err != nil {
				writes <- err
				return
			}
		}
		writes <- put(ctx, client, "later", "x")
	}()
	last, newest := 0, first.Header.Revision
	for last < 2*half {
		select {
		case response, open := <-events:
			if !open || response.Err() != nil {
				return fmt.Errorf("the watch ended at %d: %v", last, response.Err())
			}
			for _, event := range response.Events {
				value, _ := strconv.Atoi(string(event.Kv.Value))
				// A write that was under way when the server stopped may have happened twice, never not at all.
				if value != last+1 && value != last {
					return fmt.Errorf("event %d after %d", value, last)
				}
				if event.Kv.ModRevision <= newest {
					return fmt.Errorf("revision %d after %d", event.Kv.ModRevision, newest)
				}
				if event.PrevKv == nil || event.PrevKv.ModRevision != newest {
					return fmt.Errorf("before %d: %v", value, event.PrevKv)
				}
				last, newest = value, event.Kv.ModRevision
			}
		case <-ctx.Done():
			return fmt.Errorf("stuck at %d: %w", last, ctx.Err())
		}
	}
	if err := <-writes; err != nil {
		return err
	}
	if response := <-later; len(response.Events) != 1 || string(response.Events[0].Kv.Key) != "later" {
		return fmt.Errorf("the idle watch saw %v", response.Events)
	}
	return nil
}

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
