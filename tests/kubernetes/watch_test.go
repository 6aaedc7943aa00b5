package kubernetes

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/component-base/metrics/legacyregistry"
)

// history is what a watcher saw.
type history struct {
	added, modified, deleted int
	live                     map[string]bool
	version                  string
	watches                  int
	failure                  string
}

// ended tells whether it saw the last write, or what must not be.
func (h *history) ended() bool { return h.failure != "" || h.live["sentinel"] }

// watcher counts events until it has seen the last delete.
type watcher struct {
	stop func()
	done chan history
}

// startWatch follows every object. Versions must rise, and no object may change before it was added.
// The API server ends the watch of a client that it finds too slow, which on a busy machine is any; so
// this one begins again where it was, as informers do.
func (c *cluster) startWatch(version string) watcher {
	ctx, stop := context.WithCancel(c.ctx)
	done := make(chan history, 1)
	go func() {
		seen := history{live: map[string]bool{}, version: version}
		for !seen.ended() && ctx.Err() == nil {
			c.follow(ctx, &seen)
		}
		done <- seen
	}()
	return watcher{stop: stop, done: done}
}

// follow notes events from the last version seen until the watch ends.
func (c *cluster) follow(ctx context.Context, seen *history) {
	seen.watches++
	w, err := c.all.Watch(ctx, metav1.ListOptions{ResourceVersion: seen.version, AllowWatchBookmarks: true})
	if err != nil {
		seen.failure = "watch: " + err.Error()
		return
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if seen.note(event); seen.ended() {
			return
		}
	}
}

func (h *history) note(event watch.Event) {
	object, ok := event.Object.(*unstructured.Unstructured)
	if !ok {
		h.failure = "not an object"
		return
	}
	name := object.GetName()
	h.version = object.GetResourceVersion()
	switch event.Type {
	case watch.Added:
		if h.live[name] {
			h.failure = name + " was added twice"
		}
		h.live[name] = true
		h.added++
	case watch.Modified:
		if !h.live[name] {
			h.failure = name + " changed before it was there"
		}
		h.modified++
	case watch.Deleted:
		if !h.live[name] {
			h.failure = name + " was deleted before it was there"
		}
		delete(h.live, name)
		h.deleted++
	case watch.Bookmark:
	default:
		h.failure = "an event of type " + string(event.Type)
	}
}

func (c *cluster) expectEvents(w watcher) {
	defer w.stop()
	if _, err := c.resources.Create(c.ctx, c.object("sentinel"), metav1.CreateOptions{}); err != nil {
		c.t.Errorf("the last write: %v", err)
	}
	select {
	case seen := <-w.done:
		if seen.failure != "" {
			c.t.Errorf("watch: %s", seen.failure)
		}
		disturbances := 5
		if seen.added != objects+disturbances+1 || seen.deleted != objects/2+disturbances || len(seen.live) != objects/2+1 {
			c.t.Errorf("watch: %d added, %d deleted, %d live", seen.added, seen.deleted, len(seen.live))
		}
		if seen.modified < objects {
			c.t.Errorf("watch: %d modified", seen.modified)
		}
		c.t.Logf("watch: %d added, %d modified, %d deleted, in %d watches", seen.added, seen.modified, seen.deleted, seen.watches)
	case <-time.After(60 * time.Second):
		c.t.Errorf("the watch did not see the last write")
	}
}

// compacted waits until an old version is gone, as the API server's own compactor makes it.
func (c *cluster) compacted(version string) {
	deadline := time.Now().Add(60 * time.Second)
	for {
		_, err := c.resources.List(c.ctx, metav1.ListOptions{
			ResourceVersion: version, ResourceVersionMatch: metav1.ResourceVersionMatchExact,
		})
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			c.t.Logf("version %s is gone: %v", version, err)
			return
		}
		if err != nil {
			c.t.Errorf("a list at an old version: %v", err)
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("version %s is still served: nothing compacts", version)
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// ttl writes through the API server's storage layer an object that is to live for some seconds, as
// events and master leases do.
func (c *cluster) ttl(endpoint string) {
	config := storagebackend.NewDefaultConfig("/ttl", unstructured.UnstructuredJSONScheme)
	config.Transport.ServerList = []string{endpoint}
	config.Transport.TrustedCAFile = os.Getenv("BRAMBLE_CA")
	config.Transport.CertFile = os.Getenv("BRAMBLE_CERT")
	config.Transport.KeyFile = os.Getenv("BRAMBLE_KEY")
	config.CompactionInterval = 0
	resource := schema.GroupResource{Group: c.gvr.Group, Resource: c.gvr.Resource}
	newObject := func() runtime.Object { return &unstructured.Unstructured{} }
	newList := func() runtime.Object { return &unstructured.UnstructuredList{} }
	store, destroy, err := factory.Create(*config.ForResource(resource), newObject, newList, "/ttl")
	if err != nil {
		c.t.Errorf("a storage of our own: %v", err)
		return
	}
	defer destroy()
	ctx, cancel := context.WithTimeout(c.ctx, 40*time.Second)
	defer cancel()
	const lives = 3 * time.Second
	var out unstructured.Unstructured
	started := time.Now()
	if err := store.Create(ctx, "/ttl/short", c.object("short"), &out, uint64(lives.Seconds())); err != nil {
		c.t.Errorf("create with a time to live: %v", err)
		return
	}
	events, err := store.Watch(ctx, "/ttl/short", storage.ListOptions{
		ResourceVersion: out.GetResourceVersion(), Predicate: storage.Everything,
	})
	if err != nil {
		c.t.Errorf("watch: %v", err)
		return
	}
	defer events.Stop()
	event, open := <-events.ResultChan()
	lived := time.Since(started)
	if !open || event.Type != watch.Deleted {
		c.t.Errorf("the object did not expire: %v", event.Type)
	}
	if lived < lives || lived > 30*time.Second {
		c.t.Errorf("the object with %v to live lived %v", lives, lived)
	}
	if err := store.Get(ctx, "/ttl/short", storage.GetOptions{}, &out); !storage.IsNotFound(err) {
		c.t.Errorf("an expired object: %v", err)
	}
	c.t.Logf("an object with %v to live lived %v", lives, lived)
}

// waitForChecks makes sure that the cache was compared with the store, and that nothing differed.
func waitForChecks(t *testing.T) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		checks := map[string]float64{}
		families, err := legacyregistry.DefaultGatherer.Gather()
		if err != nil {
			t.Fatalf("metrics: %v", err)
		}
		for _, family := range families {
			if !strings.HasSuffix(family.GetName(), "storage_consistency_checks_total") {
				continue
			}
			for _, metric := range family.GetMetric() {
				for _, label := range metric.GetLabel() {
					if label.GetName() == "status" {
						checks[label.GetValue()] += metric.GetCounter().GetValue()
					}
				}
			}
		}
		if checks["success"] >= 3 || time.Now().After(deadline) {
			t.Logf("the cache was compared with the store: %v", checks)
			if checks["failure"] > 0 || checks["success"] == 0 {
				t.Errorf("cache checks: %v", checks)
			}
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
