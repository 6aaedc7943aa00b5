package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/lease"
	"github.com/flannel-io/flannel/pkg/subnet"
	flanneletcd "github.com/flannel-io/flannel/pkg/subnet/etcd"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/klog/v2"
)

const network = "/coreos.com/network"

// host opens flannel's subnet manager, as flanneld of one host does.
func host(ctx context.Context, previous ip.IP4Net) (subnet.Manager, error) {
	logging := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(logging)
	if err := logging.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL"}); err != nil {
		return nil, err
	}
	klog.SetOutput(io.Discard)
	config := &flanneletcd.EtcdConfig{Endpoints: []string{os.Getenv("BRAMBLE_ENDPOINT")}, Prefix: network}
	return flanneletcd.NewLocalManager(ctx, config, previous, ip.IP6Net{}, 60)
}

func attributes(address string) *lease.LeaseAttrs {
	public, err := ip.ParseIP4(address)
	if err != nil {
		panic(err) // The addresses are below.
	}
	return &lease.LeaseAttrs{PublicIP: public, BackendType: "vxlan"}
}

// flannelSubnets has hosts take subnets at once, renew, come back, and find none left.
func flannelSubnets(ctx context.Context, client *clientv3.Client) error {
	first, err := host(ctx, ip.IP4Net{})
	if err != nil {
		return err
	}
	_, err = first.GetNetworkConfig(ctx)
	saw("without a configuration", err)
	// 8 subnets: 10.5.0.0 … 10.5.7.0.
	settings := `{"Network": "10.5.0.0/21", "SubnetLen": 24, "SubnetMin": "10.5.0.0", "SubnetMax": "10.5.7.0", "Backend": {"Type": "vxlan"}}`
	if _, err := client.Put(ctx, network+"/config", settings); err != nil {
		return err
	}
	taken := make([]string, 7)
	err = all(len(taken), func(i int) error {
		manager, err := host(ctx, ip.IP4Net{})
		if err != nil {
			return err
		}
		// Two that choose the same subnet at once: the loser's error is flannel's; it asks again.
		for {
			own, err := manager.AcquireLease(ctx, attributes(fmt.Sprintf("192.0.2.%d", i+1)))
			if err == nil {
				taken[i] = own.Subnet.String()
				return nil
			}
			if ctx.Err() != nil || !strings.Contains(err.Error(), "already exists") {
				return err
			}
		}
	})
	if err != nil {
		return err
	}
	distinct := map[string]bool{}
	for _, one := range taken {
		distinct[one] = true
	}
	saw("different subnets", len(distinct))
	again, err := first.AcquireLease(ctx, attributes("192.0.2.1"))
	if err != nil || again.Subnet.String() != taken[0] {
		return fmt.Errorf("a host that comes back gets %v instead of %s: %v", again, taken[0], err)
	}
	before, err := client.Get(ctx, network+"/subnets/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	if err := first.RenewLease(ctx, again); err != nil {
		return err
	}
	left, err := client.Get(ctx, network+"/subnets/"+subnet.MakeSubnetKey(again.Subnet, ip.IP6Net{}))
	if err != nil {
		return err
	}
	live, err := client.TimeToLive(ctx, clientv3.LeaseID(left.Kvs[0].Lease))
	if err != nil || live.TTL < 86000 {
		return fmt.Errorf("a renewed lease has %v to live: %v", live, err)
	}
	saw("subnets before and after a renewal", []any{before.Count, len(left.Kvs)})
	if _, err := first.AcquireLease(ctx, attributes("192.0.2.8")); err != nil {
		return err
	}
	_, err = first.AcquireLease(ctx, attributes("192.0.2.9"))
	saw("a ninth host", err)
	return nil
}

// flannelWatch follows all leases: the ones there, one that ends, a reservation, one behind a compaction.
func flannelWatch(ctx context.Context, client *clientv3.Client) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	manager, err := host(watching, ip.IP4Net{})
	if err != nil {
		return err
	}
	results := make(chan []lease.LeaseWatchResult)
	go manager.WatchLeases(watching, results)
	seen := <-results
	saw("there at first", len(seen[0].Snapshot))
	victim := seen[0].Snapshot[0]
	key := network + "/subnets/" + subnet.MakeSubnetKey(victim.Subnet, ip.IP6Net{})
	got, err := client.Get(ctx, key)
	if err != nil {
		return err
	}
	old := clientv3.LeaseID(got.Kvs[0].Lease)
	// A host that died: its lease runs out, and its subnet goes with it.
	short, err := client.Grant(ctx, 2)
	if err != nil {
		return err
	}
	if _, err := client.Put(ctx, key, string(got.Kvs[0].Value), clientv3.WithLease(short.ID)); err != nil {
		return err
	}
	if _, err := client.Revoke(ctx, old); err != nil {
		return err
	}
	for _, wanted := range []lease.EventType{lease.EventAdded, lease.EventRemoved} {
		event, err := nextEvent(ctx, results)
		if err != nil || event.Type != wanted || event.Lease.Subnet.String() != victim.Subnet.String() {
			return fmt.Errorf("expected %v of %v: %v %v", wanted, victim.Subnet, event, err)
		}
	}
	// A reservation is a subnet without a lease; a host finds it by its address.
	reserved := `{"PublicIP":"192.0.2.50","BackendType":"vxlan","BackendData":null}`
	if _, err := client.Put(ctx, key, reserved); err != nil {
		return err
	}
	own, err := manager.AcquireLease(ctx, attributes("192.0.2.50"))
	if err != nil || own.Subnet.String() != victim.Subnet.String() {
		return fmt.Errorf("the reservation was not kept: %v %v", own, err)
	}
	saw("a reserved subnet", "kept")
	return flannelMonitor(ctx, client, manager, own)
}

// flannelMonitor is the end of flanneld: somebody takes its lease away.
func flannelMonitor(ctx context.Context, client *clientv3.Client, manager subnet.Manager, own *lease.Lease) error {
	monitored, stop := context.WithCancel(ctx)
	defer stop()
	events := make(chan lease.Event, 8)
	go subnet.WatchLease(monitored, manager, own.Subnet, ip.IP6Net{}, events)
	if first := <-events; first.Type != lease.EventAdded {
		return fmt.Errorf("its own lease is not there: %v", first)
	}
	key := network + "/subnets/" + subnet.MakeSubnetKey(own.Subnet, ip.IP6Net{})
	if _, err := client.Delete(ctx, key); err != nil {
		return err
	}
	for {
		select {
		case event := <-events:
			if event.Type == lease.EventRemoved {
				saw("its lease was taken away", event.Lease.Subnet.String() == own.Subnet.String())
				return nil
			}
		case <-ctx.Done():
			return errors.New("flannel does not notice that its lease was taken away")
		}
	}
}

func nextEvent(ctx context.Context, results chan []lease.LeaseWatchResult) (lease.Event, error) {
	select {
	case next := <-results:
		if len(next) == 0 || len(next[0].Events) == 0 {
			return lease.Event{}, fmt.Errorf("no event: %v", next)
		}
		return next[0].Events[0], nil
	case <-ctx.Done():
		return lease.Event{}, ctx.Err()
	}
}
