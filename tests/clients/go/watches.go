package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

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
		if err := ask("RESTART"); err != nil {
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

func watchOptions(ctx context.Context, client *clientv3.Client) error {
	start, err := client.Put(ctx, "opt/a", "1")
	if err != nil {
		return err
	}
	from := clientv3.WithRev(start.Header.Revision + 1)
	ctx = clientv3.WithRequireLeader(ctx)
	noPuts := client.Watch(ctx, "opt/", clientv3.WithPrefix(), from, clientv3.WithFilterPut(), clientv3.WithPrevKV())
	noDeletes := client.Watch(ctx, "opt/", clientv3.WithPrefix(), from, clientv3.WithFilterDelete())
	created := client.Watch(ctx, "opt/", clientv3.WithRange("opt/c"), clientv3.WithCreatedNotify(), clientv3.WithProgressNotify())
	if first := <-created; !first.Created {
		return fmt.Errorf("no word of the watch's creation: %v", first)
	}
	for i := range 3 {
		if _, err := client.Put(ctx, "opt/b", strconv.Itoa(i)); err != nil {
			return err
		}
	}
	txn := client.Txn(ctx).Then(clientv3.OpDelete("opt/", clientv3.WithRange("opt/c")), clientv3.OpPut("opt/z", "last"))
	if _, err := txn.Commit(); err != nil {
		return err
	}
	saw("without puts", events(noPuts, 2))
	saw("without deletes", events(noDeletes, 4))
	saw("up to opt/c", events(created, 5))
	if err := client.RequestProgress(ctx); err != nil {
		return err
	}
	for response := range created {
		if response.IsProgressNotify() {
			now, err := client.Get(ctx, "opt/")
			saw("progress is the store's revision", err == nil && now.Header.Revision == response.Header.Revision)
			return nil
		}
	}
	return errors.New("no progress was reported")
}

// events prints n events of a watch, in their order.
func events(from clientv3.WatchChan, n int) string {
	var seen []string
	for len(seen) < n {
		response, open := <-from
		if !open || response.Err() != nil {
			return fmt.Sprint(seen, response.Err())
		}
		for _, event := range response.Events {
			text := fmt.Sprintf("%v %s=%s", event.Type, event.Kv.Key, event.Kv.Value)
			if event.PrevKv != nil {
				text += fmt.Sprintf(" (%s)", event.PrevKv.Value)
			}
			seen = append(seen, text)
		}
	}
	return strings.Join(seen, ", ")
}

// watchFragments has one revision that is larger than a response may be.
func watchFragments(ctx context.Context, client *clientv3.Client) error {
	const keys, size = 20, 400 << 10
	start, err := client.Put(ctx, "fragment", "")
	if err != nil {
		return err
	}
	// The events of one revision are one response even though they come in fragments.
	events := client.Watch(ctx, "fragment/", clientv3.WithPrefix(), clientv3.WithFragment(), clientv3.WithPrevKV())
	value := strings.Repeat("x", size)
	for i := range keys {
		if _, err := client.Put(ctx, fmt.Sprintf("fragment/%02d", i), value); err != nil {
			return err
		}
	}
	if _, err := client.Delete(ctx, "fragment/", clientv3.WithPrefix()); err != nil {
		return err
	}
	puts, deletes := 0, 0
	for deletes < keys {
		response, open := <-events
		if !open || response.Err() != nil {
			return fmt.Errorf("ended: %v", response.Err())
		}
		for _, event := range response.Events {
			if event.Type == clientv3.EventTypePut {
				puts++
			} else if deletes++; event.PrevKv == nil || len(event.PrevKv.Value) != size {
				return fmt.Errorf("%s was %d bytes", event.Kv.Key, len(event.PrevKv.Value))
			}
		}
		if response.Header.Revision == start.Header.Revision+keys+1 && deletes != keys {
			return fmt.Errorf("%d of %d deletes of one revision in a response", deletes, keys)
		}
	}
	saw("puts and deletes", []int{puts, deletes})
	return nil
}

func watchCompacted(ctx context.Context, client *clientv3.Client) error {
	var newest int64
	for i := range 5 {
		written, err := client.Put(ctx, "compacted", strconv.Itoa(i))
		if err != nil {
			return err
		}
		newest = written.Header.Revision
	}
	if _, err := client.Compact(ctx, newest-1); err != nil {
		return err
	}
	response := <-client.Watch(ctx, "compacted", clientv3.WithRev(newest-3))
	if response.CompactRevision != newest-1 || !response.Canceled {
		return fmt.Errorf("a watch behind the compaction: %v", response)
	}
	saw("error", response.Err())
	_, err := client.Get(ctx, "compacted", clientv3.WithRev(newest-2))
	saw("read", err)
	if !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("not the client's own error: %v", err)
	}
	_, err = client.Compact(ctx, newest+10)
	saw("compaction of the future", err)
	saw("from the compacted revision on", events(client.Watch(ctx, "compacted", clientv3.WithRev(newest-1)), 2))
	deadline, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, open := <-client.Watch(deadline, "compacted", clientv3.WithRev(newest+1))
	saw("a watch outlives its context", open)
	return nil
}
