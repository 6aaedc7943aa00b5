//! What a person at a terminal sees when the member is ready: where it is, and three lines to try.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bramble_server::config::{Config, ListenAddr};
use bramble_server::media::Choice;
use bramble_server::version;

/// The banner.
pub fn text(config: &Config, addrs: &[SocketAddr], media: Choice) -> String {
    let endpoint = endpoint(config, addrs);
    let ctl = format!("etcdctl --endpoints={endpoint}{}", tls_flags(config));
    let log = config.log_partition.as_ref();
    let log = log.map_or(String::new(), |path| format!(", log: {}", path.display()));
    format!(
        "
  Bramble {} serves etcd's API at {endpoint}
  Data: {} (on {media}){log}

  Try, from another terminal:
    {ctl} put hello world
    {ctl} get hello
    {ctl} watch hello

",
        version::BRAMBLE,
        config.data_dir.display(),
    )
}

/// An address that a client on this machine can use.
fn endpoint(config: &Config, addrs: &[SocketAddr]) -> String {
    let tcp_urls = config.listen_client.iter().filter(|url| !matches!(url.addr, ListenAddr::Unix(_)));
    match (addrs.first(), tcp_urls.clone().next(), config.listen_client.first()) {
        (Some(addr), Some(url), _) => {
            let host = if addr.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { addr.ip() };
            let scheme = if url.tls { "https" } else { "http" };
            format!("{scheme}://{}", SocketAddr::new(host, addr.port()))
        }
        (_, _, Some(url)) => url.to_string(),
        _ => String::new(),
    }
}

fn tls_flags(config: &Config) -> String {
    let encrypted = config.listen_client.first().is_some_and(|url| url.tls);
    match &config.client_tls {
        Some(tls) if encrypted => {
            let ca = tls.trusted_ca_file.as_ref().map_or("CA.crt".into(), |path| path.display().to_string());
            let own = if tls.client_auth { " --cert=CLIENT.crt --key=CLIENT.key" } else { "" };
            format!(" --cacert={ca}{own}")
        }
        _ => String::new(),
    }
}
