//! A raw gRPC connection: generated clients and nothing between them and the wire, so that tests see
//! exactly what a server sends.
use bramble_proto::etcdserverpb::auth_client::AuthClient;
use bramble_proto::etcdserverpb::cluster_client::ClusterClient;
use bramble_proto::etcdserverpb::kv_client::KvClient;
use bramble_proto::etcdserverpb::lease_client::LeaseClient;
use bramble_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use bramble_proto::etcdserverpb::watch_client::WatchClient;
use tonic::transport::{Channel, Endpoint};

/// Clients of one server over one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Wire {
    channel: Channel,
}

impl Wire {
    /// Connects to an `http://` URL.
    pub async fn connect(url: &str) -> Wire {
        let endpoint = Endpoint::from_shared(url.to_string()).expect("a URL the harness made");
        let channel = endpoint.tcp_nodelay(true).connect().await.expect("the server was ready");
        Wire { channel }
    }

    /// Keys and values.
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Watches.
    pub fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Leases.
    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Users and roles.
    pub fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    /// Members.
    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    /// Status, hashes, alarms.
    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }
}
