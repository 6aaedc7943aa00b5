//! A raw gRPC connection: generated clients and nothing between them and the wire, so that tests see
//! exactly what a server sends.
use bramble_proto::etcdserverpb::auth_client::AuthClient;
use bramble_proto::etcdserverpb::cluster_client::ClusterClient;
use bramble_proto::etcdserverpb::kv_client::KvClient;
use bramble_proto::etcdserverpb::lease_client::LeaseClient;
use bramble_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use bramble_proto::etcdserverpb::watch_client::WatchClient;
use bramble_proto::health::health_client::HealthClient;
use bramble_proto::v3electionpb::election_client::ElectionClient;
use bramble_proto::v3lockpb::lock_client::LockClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::certs::Certs;

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

    /// Connects to an `http://` URL when it is first used, and again when the connection is lost: for tests whose
    /// servers come and go.
    pub fn connect_later(url: &str) -> Wire {
        let endpoint = Endpoint::from_shared(url.to_string()).expect("a URL the harness made");
        Wire { channel: endpoint.tcp_nodelay(true).connect_lazy() }
    }

    /// Connects to an `http://` URL and lets the server send so many bytes of a stream ahead, as Go's
    /// client does.
    pub async fn connect_with_window(url: &str, bytes: u32) -> Wire {
        let endpoint = Endpoint::from_shared(url.to_string()).expect("a URL the harness made");
        // A stream that nobody reads must not use up what all streams of the connection share.
        let endpoint = endpoint.initial_stream_window_size(bytes).initial_connection_window_size(8 * bytes);
        Wire { channel: endpoint.tcp_nodelay(true).connect().await.expect("the server was ready") }
    }

    /// Connects to an `https://` URL and shows the certificate of `client`.
    pub async fn connect_as(url: &str, certs: &Certs, client: &str) -> Wire {
        let read = |path| std::fs::read(path).expect("a file the harness made");
        let (cert, key) = certs.client(client);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(&certs.authority)))
            .identity(Identity::from_pem(read(&cert), read(&key)))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(url.to_string()).expect("a URL the harness made");
        let endpoint = endpoint.tcp_nodelay(true).tls_config(tls).expect("certificates the harness made");
        Wire { channel: endpoint.connect().await.expect("the server was ready") }
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

    /// Locks.
    pub fn lock(&self) -> LockClient<Channel> {
        LockClient::new(self.channel.clone())
    }

    /// Elections.
    pub fn election(&self) -> ElectionClient<Channel> {
        ElectionClient::new(self.channel.clone())
    }

    /// gRPC's own health service.
    pub fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }
}
