//! Endpoints, TLS and time-outs, as etcdctl names them.
use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How to reach members.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Connection {
    /// Members to ask, separated by commas; without a scheme it is http, or https when --cacert is given
    #[arg(
        long,
        global = true,
        env = "ETCDCTL_ENDPOINTS",
        value_delimiter = ',',
        default_value = "127.0.0.1:2379"
    )]
    pub endpoints: Vec<String>,
    /// The CA that signed the members' certificates (PEM)
    #[arg(long, global = true, env = "ETCDCTL_CACERT")]
    pub cacert: Option<PathBuf>,
    /// The client's certificate (PEM); needs --key
    #[arg(long, global = true, env = "ETCDCTL_CERT", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The client's key (PEM); needs --cert
    #[arg(long, global = true, env = "ETCDCTL_KEY", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Seconds to wait for a connection
    #[arg(long, global = true, default_value_t = 2)]
    pub dial_timeout_s: u64,
    /// Seconds to wait for an answer
    #[arg(long, global = true, default_value_t = 5)]
    pub command_timeout_s: u64,
}

/// Why a member cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A certificate or key cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /** Which file. */
        path: PathBuf,
        /** What the system said. */
        source: std::io::Error,
    },
    /// The endpoint is not an address.
    #[error("{endpoint} is no endpoint; write HOST:PORT, http://HOST:PORT or https://HOST:PORT")]
    Endpoint {
        /** As given. */
        endpoint: String,
    },
    /// The certificates cannot be used.
    #[error("TLS for {endpoint}: {source}")]
    Tls {
        /** Which endpoint. */
        endpoint: String,
        /** What is wrong. */
        source: tonic::transport::Error,
    },
    /// Nobody answers there.
    #[error("cannot connect to {endpoint}: {reason}; is the server running there?")]
    Connect {
        /** Which endpoint. */
        endpoint: String,
        /** The innermost cause. */
        reason: String,
    },
}

impl Connection {
    /// Connects to one endpoint.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, endpoint: &str) -> Result<Channel, ConnectError> {
        let url = self.url(endpoint);
        let refused = |_| ConnectError::Endpoint { endpoint: endpoint.into() };
        let mut target = Endpoint::from_shared(url.clone())
            .map_err(refused)?
            .connect_timeout(Duration::from_secs(self.dial_timeout_s))
            .timeout(Duration::from_secs(self.command_timeout_s));
        if url.starts_with("https://") {
            let tls = |source| ConnectError::Tls { endpoint: endpoint.into(), source };
            target = target.tls_config(self.tls()?).map_err(tls)?;
        }
        let connect = |error| ConnectError::Connect { endpoint: endpoint.into(), reason: innermost(&error) };
        target.connect().await.map_err(connect)
    }

    fn url(&self, endpoint: &str) -> String {
        match (endpoint.contains("://"), &self.cacert) {
            (true, _) => endpoint.into(),
            (false, Some(_)) => format!("https://{endpoint}"),
            (false, None) => format!("http://{endpoint}"),
        }
    }

    fn tls(&self) -> Result<ClientTlsConfig, ConnectError> {
        let mut tls = ClientTlsConfig::new();
        if let Some(path) = &self.cacert {
            tls = tls.ca_certificate(Certificate::from_pem(read(path)?));
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        Ok(tls)
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|source| ConnectError::File { path: path.clone(), source })
}

/// tonic says "transport error"; what a person needs is the cause at the bottom.
fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        connection: Connection,
    }

    #[test]
    fn the_scheme_follows_the_ca() {
        let plain = Line::parse_from(["x", "--endpoints", "a:1,https://b:2"]).connection;
        assert_eq!(
            plain.endpoints.iter().map(|e| plain.url(e)).collect::<Vec<_>>(),
            ["http://a:1", "https://b:2"]
        );
        let tls = Line::parse_from(["x", "--endpoints", "a:1", "--cacert", "ca.pem"]).connection;
        assert_eq!(tls.url("a:1"), "https://a:1");
    }

    #[test]
    fn a_certificate_needs_its_key() {
        assert!(Line::try_parse_from(["x", "--cert", "c.pem"]).is_err());
    }
}
