//! Real clients: what they see of Bramble must be what they see of etcd.

mod etcdctl;
mod gateway;
mod go;
mod program;
