//! `--initial-cluster` and its kin: today a cluster of one, said clearly.
//!
//! As in etcd these flags make a cluster and are not looked at once there is data: installers leave
//! them in their unit files for ever, `existing` included.
use std::path::Path;

use super::check::text;
use super::error::ConfigError;
use super::settings::Config;
use super::sources::{Notice, Sources};
use super::values;

/// Checks the flags and takes the member's peer URLs and the token from them.
///
/// # Errors
/// More than one member, a list without this member, joining an existing cluster.
pub fn check(sources: &Sources, config: &mut Config, notices: &mut Vec<Notice>) -> Result<(), ConfigError> {
    if let Some(token) = text(sources, "initial-cluster-token") {
        config.initial_cluster_token = token;
    }
    let members = members(sources)?;
    let (own, others): (Vec<_>, Vec<_>) = members.into_iter().partition(|(name, _)| *name == config.name);
    if sources.get("initial-advertise-peer-urls").is_none() && !own.is_empty() {
        config.advertise_peer = own.iter().map(|(_, url)| url.clone()).collect();
    }
    let joining = text(sources, "initial-cluster-state").as_deref() == Some("existing");
    if !joining && others.is_empty() {
        return Ok(());
    }
    if has_data(&config.data_dir) {
        notices.push(Notice::Info(
            "--initial-cluster and --initial-cluster-state are not looked at: there is data".into(),
        ));
        return Ok(());
    }
    Err(ConfigError::Contradiction(if joining {
        "--initial-cluster-state=existing: joining a cluster is not served yet; leave it out to start a member alone".into()
    } else if own.is_empty() {
        format!("couldn't find local name {:?} in the initial cluster configuration; set --name", config.name)
    } else {
        format!(
            "--initial-cluster names {} more member(s): clusters are not served yet; name only {}",
            others.len(),
            config.name
        )
    }))
}

/// (name, URL) pairs of `--initial-cluster`.
fn members(sources: &Sources) -> Result<Vec<(String, String)>, ConfigError> {
    let Some(given) = sources.get("initial-cluster") else { return Ok(Vec::new()) };
    let mut members = Vec::new();
    for word in values::list(&given.text) {
        match word.split_once('=') {
            Some((name, url)) if !name.is_empty() && !url.is_empty() => {
                members.push((name.to_owned(), url.to_owned()))
            }
            _ => return Err(values::bad(given, "a list like name=http://10.0.0.7:2380")),
        }
    }
    Ok(members)
}

fn has_data(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| entry.file_name() != "lost+found")
}
