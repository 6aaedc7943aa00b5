// Command goclient drives the server at BRAMBLE_ENDPOINT with etcd's own Go client and what is built on
// it. Its argument names a group of parts. It prints a line per part and, indented, what it saw; all of
// it must be equal on every server. It ends with status 1 at the first wrong answer.
//
// When it needs the server restarted (or killed and started again) it prints RESTART (or KILL) and waits
// for a line on its standard input.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A part is one thing that a program would rely on.
type part struct {
	name string
	run  func(context.Context, *clientv3.Client) error
}

var groups = map[string][]part{
	"watches": {
		{"watch over a restart", watchOverRestart},
		{"watch options", watchOptions},
		{"watch in fragments", watchFragments},
		{"watch behind a compaction", watchCompacted},
	},
	"sessions": {
		{"kept lease", keptLease},
		{"kept lease over a restart", keptOverRestart},
		{"mutex", mutex},
		{"mutex without waiting", tryMutex},
		{"election", election},
		{"election observed", observe},
		{"lost session", lostSession},
	},
	"recipes": {
		{"transactional memory", transfers},
		{"isolation", isolation},
		{"queue", queue},
		{"priority queue", priorityQueue},
		{"barrier", barrier},
		{"double barrier", doubleBarrier},
		{"readers and writers", readersWriters},
	},
	"wrappers": {
		{"leasing", leases},
		{"namespace", namespaces},
		{"mirror", mirrors},
		{"ordering", orders},
		{"naming", names},
		{"Kubernetes' interface", optimistic},
	},
	"auth":    {{"users and roles", usersAndRoles}, {"tokens", tokens}, {"denied", denied}, {"watch and lease", authStreams}, {"disable", disableAuth}},
	"kills":   {{"concurrency under kills", underKills}},
	"flannel": {{"flannel's subnets", flannelSubnets}, {"flannel's watch", flannelWatch}},
}

var answers = bufio.NewScanner(os.Stdin)

func main() {
	parts, known := groups[os.Args[len(os.Args)-1]]
	if !known {
		fmt.Println("FAIL: which group?")
		os.Exit(1)
	}
	client := connect()
	defer client.Close()
	for _, part := range parts {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		err := part.run(ctx, client)
		cancel()
		if err != nil {
			fmt.Printf("FAIL %s: %v\n", part.name, err)
			os.Exit(1)
		}
		fmt.Println("ok", part.name)
	}
}

// saw prints what every server must answer alike.
func saw(what string, seen any) { fmt.Printf("  %s: %v\n", what, seen) }

func config() clientv3.Config {
	return clientv3.Config{
		Endpoints:   []string{os.Getenv("BRAMBLE_ENDPOINT")},
		DialTimeout: 5 * time.Second,
		Logger:      zap.NewNop(),
	}
}

func connect() *clientv3.Client {
	client, err := clientv3.New(config())
	if err != nil {
		fmt.Printf("FAIL connect: %v\n", err)
		os.Exit(1)
	}
	return client
}

// ask has the test restart or kill the server.
func ask(what string) error {
	fmt.Println(what)
	if !answers.Scan() {
		return fmt.Errorf("nobody answered %s: %v", what, answers.Err())
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

// all runs n at once and gives what failed.
func all(n int, run func(int) error) error {
	results := make(chan error, n)
	for i := range n {
		go func() { results <- run(i) }()
	}
	var failures []error
	for range n {
		failures = append(failures, <-results)
	}
	return errors.Join(failures...)
}
