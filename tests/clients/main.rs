//! Real clients: etcdctl of two ages against etcd and Bramble, and a program on etcd's Go client.

mod etcdctl;
mod go_client;
