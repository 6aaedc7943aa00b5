// Package kubernetes runs a real Kubernetes API server (apiextensions-apiserver: the generic API server
// with its watch cache, compactor and health checks) on a store whose address comes from outside:
//
//	BRAMBLE_ENDPOINT  https://127.0.0.1:port
//	BRAMBLE_CA, BRAMBLE_CERT, BRAMBLE_KEY  PEM files
//
// The API server compares its own cache with the store every few seconds and panics on a difference.
package kubernetes

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	clientset "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apiextensions-apiserver/test/integration/fixtures"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage/cacher/consistency"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"
)

const (
	objects   = 1000
	writers   = 8
	namespace = "default"
)

// Lines the API server logs when the store does not keep its promises.
var complaints = []string{
	"PrevKv=nil",
	"Too large resource version",
	"Error getting keys",
	"Cache consistency check failed",
	"compaction failed",
	"etcdserver:",
	"panic",
}

type logs struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *logs) Write(line []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(line)
}

func (l *logs) complaints() []string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var found []string
	for _, line := range strings.Split(l.text.String(), "\n") {
		for _, word := range complaints {
			if strings.Contains(line, word) {
				found = append(found, line)
				break
			}
		}
	}
	return found
}

type cluster struct {
	t         *testing.T
	ctx       context.Context
	resources dynamic.ResourceInterface
	all       dynamic.ResourceInterface
	gvr       schema.GroupVersionResource
	kind      string
}

func TestAPIServer(t *testing.T) {
	endpoint := os.Getenv("BRAMBLE_ENDPOINT")
	if endpoint == "" {
		t.Fatal("BRAMBLE_ENDPOINT is not set; cargo test -p bramble-tests --test kubernetes sets it")
	}
	consistency.CheckPeriod = 2 * time.Second
	consistency.PanicOnCacheInconsistency = true
	captured := &logs{}
	klog.LogToStderr(false)
	klog.SetOutput(captured)
	defer func() {
		if t.Failed() {
			klog.Flush()
			captured.mutex.Lock()
			text := captured.text.String()
			captured.mutex.Unlock()
			if len(text) > 20000 {
				text = text[len(text)-20000:]
			}
			t.Logf("end of the API server's log:\n%s", text)
		}
	}()
	os.Setenv("KUBE_INTEGRATION_ETCD_URL", endpoint)
	started := time.Now()
	tearDown, extensions, dynamicClient, err := fixtures.StartDefaultServerWithClients(t,
		"--etcd-cafile", os.Getenv("BRAMBLE_CA"),
		"--etcd-certfile", os.Getenv("BRAMBLE_CERT"),
		"--etcd-keyfile", os.Getenv("BRAMBLE_KEY"),
		"--etcd-compaction-interval", "5s",
	)
	if err != nil {
		t.Fatal(err)
	}
	defer tearDown()
	t.Logf("API server ready after %v", time.Since(started))

	c := newCluster(t, extensions, dynamicClient)
	seen := c.startWatch("0")
	early := c.createAll()
	c.chunkedLists()
	c.conflicts()
	c.updateAll()
	c.streamingList()
	c.deleteHalf()
	c.expectEvents(seen)
	c.ttl(endpoint)
	c.compacted(early)
	c.deleteRest()
	if err := fixtures.DeleteV1CustomResourceDefinitions(metav1.ListOptions{}, extensions); err != nil {
		t.Fatalf("deleting the definitions: %v", err)
	}
	waitForChecks(t)
	klog.Flush()
	for _, line := range captured.complaints() {
		t.Errorf("the API server complains: %s", line)
	}
}

func newCluster(t *testing.T, extensions clientset.Interface, dynamicClient dynamic.Interface) *cluster {
	var gvr schema.GroupVersionResource
	var kind string
	for i := 0; i < 3; i++ {
		definition := fixtures.NewRandomNameV1CustomResourceDefinition(apiextensionsv1.NamespaceScoped)
		created, err := fixtures.CreateNewV1CustomResourceDefinition(definition, extensions, dynamicClient)
		if err != nil {
			t.Fatalf("creating a definition: %v", err)
		}
		gvr = fixtures.GetGroupVersionResourcesOfCustomResource(created)[0]
		kind = created.Spec.Names.Kind
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	resources := dynamicClient.Resource(gvr)
	return &cluster{t: t, ctx: ctx, resources: resources.Namespace(namespace), all: resources, gvr: gvr, kind: kind}
}

func (c *cluster) object(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]interface{}{
		"apiVersion": c.gvr.GroupVersion().String(),
		"kind":       c.kind,
		"metadata":   map[string]interface{}{"name": name, "namespace": namespace},
		"content":    map[string]interface{}{"counter": int64(0), "text": strings.Repeat("x", 300)},
	}}
}

func name(i int) string { return fmt.Sprintf("object-%04d", i) }

// parallel runs work for 0..count-1 on a few goroutines.
func parallel(count int, work func(i int)) {
	var next atomic.Int64
	var group sync.WaitGroup
	for w := 0; w < writers; w++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				work(i)
			}
		}()
	}
	group.Wait()
}

// createAll returns a resource version from the middle of the work.
func (c *cluster) createAll() string {
	started := time.Now()
	var middle atomic.Value
	parallel(objects, func(i int) {
		created, err := c.resources.Create(c.ctx, c.object(name(i)), metav1.CreateOptions{})
		if err != nil {
			c.t.Errorf("create %d: %v", i, err)
			return
		}
		if i == objects/2 {
			middle.Store(created.GetResourceVersion())
		}
	})
	if _, err := c.resources.Create(c.ctx, c.object(name(0)), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		c.t.Errorf("creating twice: %v", err)
	}
	c.t.Logf("%d objects created in %v", objects, time.Since(started))
	version, _ := middle.Load().(string)
	return version
}

// chunkedLists reads all in pages, at one revision, while others write.
func (c *cluster) chunkedLists() {
	for _, limit := range []int64{1, 137, 500, 999, 1000, 1001} {
		if limit == 1 {
			page, err := c.resources.List(c.ctx, metav1.ListOptions{Limit: 1})
			if err != nil || len(page.Items) != 1 || page.GetRemainingItemCount() == nil || *page.GetRemainingItemCount() != objects-1 {
				c.t.Errorf("page of one: %v", err)
			}
			continue
		}
		found := map[string]bool{}
		version, token := "", ""
		for first := true; first || token != ""; first = false {
			page, err := c.resources.List(c.ctx, metav1.ListOptions{Limit: limit, Continue: token})
			if err != nil {
				c.t.Errorf("page of %d: %v", limit, err)
				break
			}
			if version == "" {
				version = page.GetResourceVersion()
				disturb := c.object("disturbance")
				if _, err := c.resources.Create(c.ctx, disturb, metav1.CreateOptions{}); err != nil {
					c.t.Errorf("write between pages: %v", err)
				}
			}
			if page.GetResourceVersion() != version {
				c.t.Errorf("page of %d: version %s, the first had %s", limit, page.GetResourceVersion(), version)
			}
			for _, item := range page.Items {
				if found[item.GetName()] {
					c.t.Errorf("%s on two pages", item.GetName())
				}
				found[item.GetName()] = true
			}
			token = page.GetContinue()
		}
		if len(found) != objects || found["disturbance"] {
			c.t.Errorf("pages of %d hold %d objects", limit, len(found))
		}
		if err := c.resources.Delete(c.ctx, "disturbance", metav1.DeleteOptions{}); err != nil {
			c.t.Errorf("delete between lists: %v", err)
		}
	}
}

// conflicts lets several writers count on one object; each must lose sometimes, none may overwrite.
func (c *cluster) conflicts() {
	const rounds = 20
	var lost atomic.Int64
	parallel(writers, func(int) {
		for done := 0; done < rounds; {
			current, err := c.resources.Get(c.ctx, name(7), metav1.GetOptions{})
			if err != nil {
				c.t.Errorf("get: %v", err)
				return
			}
			counter, _, _ := unstructured.NestedInt64(current.Object, "content", "counter")
			_ = unstructured.SetNestedField(current.Object, counter+1, "content", "counter")
			_, err = c.resources.Update(c.ctx, current, metav1.UpdateOptions{})
			switch {
			case err == nil:
				done++
			case apierrors.IsConflict(err):
				lost.Add(1)
			default:
				c.t.Errorf("update: %v", err)
				return
			}
		}
	})
	final, err := c.resources.Get(c.ctx, name(7), metav1.GetOptions{})
	if err != nil {
		c.t.Fatalf("get: %v", err)
	}
	counter, _, _ := unstructured.NestedInt64(final.Object, "content", "counter")
	if counter != writers*rounds {
		c.t.Errorf("%d increments, the counter says %d", writers*rounds, counter)
	}
	if lost.Load() == 0 {
		c.t.Errorf("no writer ever lost: nothing was contended")
	}
	c.t.Logf("%d increments, %d conflicts", counter, lost.Load())
}

func (c *cluster) updateAll() {
	parallel(objects, func(i int) {
		patch := []byte(`{"content":{"text":"changed"}}`)
		_, err := c.resources.Patch(c.ctx, name(i), "application/merge-patch+json", patch, metav1.PatchOptions{})
		if err != nil {
			c.t.Errorf("patch %d: %v", i, err)
		}
	})
}

// streamingList takes the initial state as watch events, closed by a bookmark.
func (c *cluster) streamingList() {
	yes := true
	w, err := c.resources.Watch(c.ctx, metav1.ListOptions{
		SendInitialEvents:    &yes,
		AllowWatchBookmarks:  true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		c.t.Errorf("streaming list: %v", err)
		return
	}
	defer w.Stop()
	deadline := time.After(30 * time.Second)
	for added := 0; ; {
		select {
		case event := <-w.ResultChan():
			switch event.Type {
			case watch.Added:
				added++
			case watch.Bookmark:
				if added != objects {
					c.t.Errorf("the streaming list held %d objects", added)
				}
				return
			default:
				c.t.Errorf("streaming list: %v %v", event.Type, event.Object)
				return
			}
		case <-deadline:
			c.t.Errorf("the streaming list did not end; %d objects", added)
			return
		}
	}
}

func (c *cluster) deleteHalf() {
	parallel(objects/2, func(i int) {
		if err := c.resources.Delete(c.ctx, name(i), metav1.DeleteOptions{}); err != nil {
			c.t.Errorf("delete %d: %v", i, err)
		}
	})
	stale := c.object(name(objects - 1))
	stale.SetResourceVersion("1")
	if _, err := c.resources.Update(c.ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		c.t.Errorf("an update with an old version: %v", err)
	}
	if _, err := c.resources.Get(c.ctx, name(0), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		c.t.Errorf("a deleted object: %v", err)
	}
}

func (c *cluster) deleteRest() {
	if err := c.resources.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		c.t.Errorf("delete collection: %v", err)
	}
	rest, err := c.all.List(c.ctx, metav1.ListOptions{})
	if err != nil || len(rest.Items) != 0 {
		c.t.Errorf("after deleting all: %d objects, %v", len(rest.Items), err)
	}
}
