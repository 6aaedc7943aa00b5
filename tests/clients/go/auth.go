package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The server that these parts are tried on forgets a token that was not used for this long.
const tokenLife = 2 * time.Second

func as(user, password string) (*clientv3.Client, error) {
	config := config()
	config.Username, config.Password = user, password
	return clientv3.New(config)
}

// usersAndRoles ends with auth enabled, root, and alice who may read and write in/ and read out/.
func usersAndRoles(ctx context.Context, client *clientv3.Client) error {
	_, err := client.AuthEnable(ctx)
	saw("enabled without root", err)
	for _, role := range []string{"root", "team", "reader"} {
		if _, err := client.RoleAdd(ctx, role); err != nil {
			return err
		}
	}
	_, err = client.RoleAdd(ctx, "team")
	saw("a role twice", err)
	for _, user := range []string{"root", "alice", "bob"} {
		if _, err := client.UserAdd(ctx, user, user+"'s"); err != nil {
			return err
		}
	}
	_, err = client.UserAddWithOptions(ctx, "machine", "", &clientv3.UserAddOptions{NoPassword: true})
	saw("without a password", err)
	_, err = client.UserAdd(ctx, "", "x")
	saw("without a name", err)
	_, err = client.UserGrantRole(ctx, "root", "root")
	if err != nil {
		return err
	}
	inside, outside := clientv3.GetPrefixRangeEnd("in/"), clientv3.GetPrefixRangeEnd("out/")
	readWrite := clientv3.PermissionType(clientv3.PermReadWrite)
	read := clientv3.PermissionType(clientv3.PermRead)
	if _, err := client.RoleGrantPermission(ctx, "team", "in/", inside, readWrite); err != nil {
		return err
	}
	if _, err := client.RoleGrantPermission(ctx, "team", "out/", outside, read); err != nil {
		return err
	}
	_, err = client.RoleGrantPermission(ctx, "nobody", "in/", "", read)
	saw("granted to nobody", err)
	_, err = client.RoleRevokePermission(ctx, "reader", "in/", "")
	saw("revoked what was not granted", err)
	for _, role := range []string{"reader", "team"} {
		if _, err := client.UserGrantRole(ctx, "alice", role); err != nil {
			return err
		}
	}
	if _, err := client.UserRevokeRole(ctx, "alice", "reader"); err != nil {
		return err
	}
	_, err = client.UserRevokeRole(ctx, "alice", "reader")
	saw("a role taken twice", err)
	role, err := client.RoleGet(ctx, "team")
	if err != nil {
		return err
	}
	for _, permission := range role.Perm {
		saw("permission", fmt.Sprintf("%v %q %q", permission.PermType, permission.Key, permission.RangeEnd))
	}
	users, err := client.UserList(ctx)
	if err != nil {
		return err
	}
	saw("users", users.Users)
	alice, err := client.UserGet(ctx, "alice")
	if err != nil {
		return err
	}
	saw("alice's roles", alice.Roles)
	_, err = client.Authenticate(ctx, "alice", "alice's")
	saw("a token before auth is enabled", err)
	_, err = client.AuthEnable(ctx)
	return err
}

// tokens lets a token run out, and takes it away.
func tokens(ctx context.Context, _ *clientv3.Client) error {
	_, err := as("alice", "wrong")
	saw("a wrong password", err)
	_, err = as("nobody", "x")
	saw("no such user", err)
	_, err = as("machine", "")
	saw("no password", err != nil)
	alice, err := as("alice", "alice's")
	if err != nil {
		return err
	}
	defer alice.Close()
	root, err := as("root", "root's")
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := alice.Put(ctx, "in/a", "1"); err != nil {
		return err
	}
	// One second more than the token lives, and one for the clock that looks.
	time.Sleep(tokenLife + 2*time.Second)
	if _, err := alice.Get(ctx, "in/a"); err != nil {
		return fmt.Errorf("a client does not get itself a new token: %v", err)
	}
	// Any change of users or roles makes every token stale; clients notice and get a new one.
	if _, err := root.RoleAdd(ctx, "another"); err != nil {
		return err
	}
	if _, err := alice.Get(ctx, "in/a"); err != nil {
		return fmt.Errorf("after a change of roles: %v", err)
	}
	if _, err := root.UserChangePassword(ctx, "alice", "new"); err != nil {
		return err
	}
	_, err = alice.Get(ctx, "in/a")
	saw("after the password was changed", err)
	saw("the client knows that error", errors.Is(err, rpctypes.ErrAuthFailed) || errors.Is(err, rpctypes.ErrInvalidAuthToken))
	_, err = root.UserChangePassword(ctx, "alice", "alice's")
	if err != nil {
		return err
	}
	if _, err := alice.Get(ctx, "in/a"); err != nil {
		return fmt.Errorf("with the old password back: %v", err)
	}
	return nil
}

// denied is what alice, bob and nobody may not do.
func denied(ctx context.Context, anonymous *clientv3.Client) error {
	alice, err := as("alice", "alice's")
	if err != nil {
		return err
	}
	defer alice.Close()
	bob, err := as("bob", "bob's")
	if err != nil {
		return err
	}
	defer bob.Close()
	tries := map[string]func(*clientv3.Client) error{
		"put in":      func(c *clientv3.Client) error { _, err := c.Put(ctx, "in/b", "2"); return err },
		"put out":     func(c *clientv3.Client) error { _, err := c.Put(ctx, "out/b", "2"); return err },
		"get in":      func(c *clientv3.Client) error { _, err := c.Get(ctx, "in/", clientv3.WithPrefix()); return err },
		"get out":     func(c *clientv3.Client) error { _, err := c.Get(ctx, "out/x"); return err },
		"get too far": func(c *clientv3.Client) error { _, err := c.Get(ctx, "in/", clientv3.WithRange("j")); return err },
		"get locally": func(c *clientv3.Client) error { _, err := c.Get(ctx, "other", clientv3.WithSerializable()); return err },
		"delete out":  func(c *clientv3.Client) error { _, err := c.Delete(ctx, "out/b"); return err },
		"put and see": func(c *clientv3.Client) error { _, err := c.Put(ctx, "in/b", "3", clientv3.WithPrevKV()); return err },
		"nested": func(c *clientv3.Client) error {
			inner := clientv3.OpTxn(nil, nil, []clientv3.Op{clientv3.OpPut("out/c", "x")})
			_, err := c.Txn(ctx).Then(clientv3.OpGet("in/b"), inner).Commit()
			return err
		},
		"compare": func(c *clientv3.Client) error {
			_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version("other"), "=", 0)).Commit()
			return err
		},
		"members":  func(c *clientv3.Client) error { _, err := c.MemberList(ctx); return err },
		"alarms":   func(c *clientv3.Client) error { _, err := c.AlarmList(ctx); return err },
		"compact":  func(c *clientv3.Client) error { _, err := c.Compact(ctx, 1); return err },
		"users":    func(c *clientv3.Client) error { _, err := c.UserList(ctx); return err },
		"herself":  func(c *clientv3.Client) error { _, err := c.UserGet(ctx, "alice"); return err },
		"her role": func(c *clientv3.Client) error { _, err := c.RoleGet(ctx, "team"); return err },
		"grant":    func(c *clientv3.Client) error { _, err := c.UserGrantRole(ctx, "alice", "root"); return err },
		"disable":  func(c *clientv3.Client) error { _, err := c.AuthDisable(ctx); return err },
	}
	order := make([]string, 0, len(tries))
	for name := range tries {
		order = append(order, name)
	}
	slices.Sort(order)
	for _, name := range order {
		saw(name, fmt.Sprintf("alice: %v; bob: %v; nobody: %v", tries[name](alice), tries[name](bob), tries[name](anonymous)))
	}
	return nil
}

// authStreams is about what lives longer than a request.
func authStreams(ctx context.Context, anonymous *clientv3.Client) error {
	alice, err := as("alice", "alice's")
	if err != nil {
		return err
	}
	defer alice.Close()
	allowed := alice.Watch(ctx, "in/", clientv3.WithPrefix())
	if _, err := alice.Put(ctx, "in/w", "1"); err != nil {
		return err
	}
	saw("watched", events(allowed, 1))
	refused := <-alice.Watch(ctx, "in/", clientv3.WithRange("j"))
	saw("watched too much", refused.Err())
	refused = <-anonymous.Watch(ctx, "in/", clientv3.WithPrefix())
	saw("watched by nobody", refused.Err())

	root, err := as("root", "root's")
	if err != nil {
		return err
	}
	defer root.Close()
	lease, err := root.Grant(ctx, 60)
	if err != nil {
		return err
	}
	if _, err := root.Put(ctx, "secret", "x", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	_, err = alice.Revoke(ctx, lease.ID)
	saw("revoked over a key of root's", err)
	_, err = alice.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	saw("asked for a key of root's", err)
	_, err = alice.Put(ctx, "in/leased", "x", clientv3.WithLease(lease.ID))
	saw("put with root's lease", err)
	kept, err := alice.KeepAliveOnce(ctx, lease.ID)
	saw("kept root's lease", fmt.Sprint(kept != nil, err))
	_, err = root.Revoke(ctx, lease.ID)
	return err
}

func disableAuth(ctx context.Context, anonymous *clientv3.Client) error {
	root, err := as("root", "root's")
	if err != nil {
		return err
	}
	defer root.Close()
	status, err := root.AuthStatus(ctx)
	if err != nil {
		return err
	}
	saw("enabled", status.Enabled)
	if err := ask("RESTART"); err != nil {
		return err
	}
	_, err = anonymous.Get(ctx, "in/a")
	saw("nobody after a restart", err)
	if _, err := root.Get(ctx, "in/a"); err != nil {
		return fmt.Errorf("root after a restart: %v", err)
	}
	_, err = root.UserDelete(ctx, "root")
	saw("root deletes itself", err)
	_, err = root.UserRevokeRole(ctx, "root", "root")
	saw("root gives up root", err)
	if _, err := root.RoleDelete(ctx, "team"); err != nil {
		return err
	}
	alice, err := root.UserGet(ctx, "alice")
	if err != nil {
		return err
	}
	saw("alice's roles", len(alice.Roles))
	if _, err := root.AuthDisable(ctx); err != nil {
		return err
	}
	got, err := anonymous.Get(ctx, "in/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	saw("keys in", got.Count)
	return nil
}
