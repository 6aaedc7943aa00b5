//! etcd's feature gates: which there are, which of them do something here, and how they are set.
//!
//! A gate that is not named has the value of `AllAlpha` or `AllBeta`, then its default. An unknown gate
//! is warned of, never an error: installers name gates of versions to come.
use std::collections::BTreeMap;

use super::error::ConfigError;
use super::sources::{Notice, Sources};
use super::values;

/// A feature gate.
struct Gate {
    name: &'static str,
    maturity: Maturity,
    default: bool,
    /// The flag that etcd 3.5 had for it, where that means the same here.
    flag: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Maturity {
    Alpha,
    Beta,
}

const fn gate(name: &'static str, maturity: Maturity, flag: Option<&'static str>) -> Gate {
    Gate { name, maturity, default: matches!(maturity, Maturity::Beta), flag }
}

const CHECKPOINT: &str = "LeaseCheckpoint";
const CHECKPOINT_PERSIST: &str = "LeaseCheckpointPersist";

/// Those of etcd 3.6 and 3.7.
const GATES: [Gate; 9] = [
    gate("CompactHashCheck", Maturity::Alpha, None),
    gate("FastLeaseKeepAlive", Maturity::Beta, None),
    gate("InitialCorruptCheck", Maturity::Alpha, None),
    gate(CHECKPOINT, Maturity::Alpha, Some("experimental-enable-lease-checkpoint")),
    gate(CHECKPOINT_PERSIST, Maturity::Alpha, Some("experimental-enable-lease-checkpoint-persist")),
    gate("PriorityRequest", Maturity::Alpha, None),
    gate("SetMemberLocalAddr", Maturity::Alpha, None),
    gate("StopGRPCServiceOnDefrag", Maturity::Alpha, None),
    gate("TxnModeWriteWithSharedBuffer", Maturity::Beta, None),
];

/// The gates that do something here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gates {
    pub(super) lease_checkpoint: bool,
}

/// Reads the gates, and the flags that stand for some of them.
///
/// # Errors
/// A list that cannot be read; gates that do not go together.
pub(super) fn read(sources: &Sources, notices: &mut Vec<Notice>) -> Result<Gates, ConfigError> {
    let named = named(sources, notices)?;
    let on = |gate: &Gate| -> bool {
        let all = match gate.maturity {
            Maturity::Alpha => "AllAlpha",
            Maturity::Beta => "AllBeta",
        };
        named.get(gate.name).or_else(|| named.get(all)).copied().unwrap_or(gate.default)
    };
    let is_on = |name: &str| GATES.iter().find(|gate| gate.name == name).is_some_and(on);
    for gate in GATES.iter().filter(|gate| gate.flag.is_none() && on(gate) != gate.default) {
        notices.push(Notice::Info(format!(
            "feature gate {} has no effect: what it stands for is always on, or not there",
            gate.name
        )));
    }
    if is_on(CHECKPOINT_PERSIST) && !is_on(CHECKPOINT) {
        let why = format!("the feature gate {CHECKPOINT_PERSIST} needs {CHECKPOINT}; turn both on");
        return Err(ConfigError::Contradiction(why));
    }
    Ok(Gates { lease_checkpoint: is_on(CHECKPOINT) })
}

/// What was set for each gate, by the list or by a flag of its own.
fn named(sources: &Sources, notices: &mut Vec<Notice>) -> Result<BTreeMap<String, bool>, ConfigError> {
    let mut named = BTreeMap::new();
    if let Some(given) = sources.get("feature-gates") {
        for entry in values::list(&given.text) {
            let pair = entry.split_once('=').map(|(name, on)| (name.trim(), values::boolean(on.trim())));
            let Some((name, Some(on))) = pair else {
                return Err(values::bad(given, "a list like Name=true,Other=false"));
            };
            if !["AllAlpha", "AllBeta"].contains(&name) && !GATES.iter().any(|gate| gate.name == name) {
                notices.push(Notice::Warn(format!("unknown feature gate {name}, ignored")));
            }
            named.insert(name.to_owned(), on);
        }
    }
    for gate in &GATES {
        let Some(given) = gate.flag.and_then(|flag| sources.get(flag)) else { continue };
        let Some(on) = values::boolean(&given.text) else { continue };
        if named.insert(gate.name.to_owned(), on).is_some() {
            let why = format!("{} and the feature gate {} are one thing; give one", given.origin, gate.name);
            return Err(ConfigError::Contradiction(why));
        }
    }
    Ok(named)
}
