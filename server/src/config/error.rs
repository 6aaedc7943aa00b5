//! Why the settings are no good: what is wrong, why, and what to do, in one line.
use super::sources::Source;

/// An error in flags, environment or file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum ConfigError {
    /// No flag has this name.
    #[error("unknown flag --{name}{}", did_you_mean(.nearest, "--"))]
    UnknownFlag { name: String, nearest: Option<&'static str> },
    /// The flag came last and needs a value.
    #[error("--{name} needs a value: --{name}=VALUE")]
    NeedsValue { name: &'static str },
    /// The value does not fit the flag.
    #[error("{origin}: {value:?} is not {wanted}")]
    BadValue { origin: Origin, value: String, wanted: String },
    /// A word that is no flag.
    #[error("{0:?} is not a valid flag: flags begin with --; see --help")]
    NotAFlag(String),
    /// A subcommand of etcd that is not served.
    #[error("`{0}` is not served; point clients at the member itself")]
    Subcommand(String),
    /// Asked for something we do not do.
    #[error("{origin} is refused: {hint}")]
    Refused { origin: Origin, hint: &'static str },
    /// The file cannot be read.
    #[error("cannot read the config file {path}: {why}")]
    FileUnreadable { path: String, why: String },
    /// The file is no YAML, or not the kind of YAML we read.
    #[error("config file {path}: {why}")]
    FileMalformed { path: String, why: String },
    /// A key in the file that no flag has.
    #[error("config file {path}: unknown key {key:?}{}", did_you_mean(.nearest, ""))]
    UnknownKey { path: String, key: String, nearest: Option<&'static str> },
    /// Settings that do not go together.
    #[error("{0}")]
    Contradiction(String),
}

/// Which flag, and where it was set: `--name`, `ETCD_NAME`, or `name in etcd.yml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The flag as spelt by the user.
    pub name: String,
    /// Where.
    pub source: Source,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Source::Flag => write!(f, "--{}", self.name),
            Source::Env => write!(f, "{}", super::table::env_name(&self.name)),
            Source::File(path) => write!(f, "{} in {path}", self.name),
        }
    }
}

impl ConfigError {
    /// The process's exit status: as in etcd 2 for a command line that cannot be parsed, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            ConfigError::UnknownFlag { .. } | ConfigError::NeedsValue { .. } => 2,
            ConfigError::BadValue { origin: Origin { source: Source::Flag, .. }, .. } => 2,
            _ => 1,
        }
    }
}

fn did_you_mean(nearest: &Option<&'static str>, dashes: &str) -> String {
    match nearest {
        Some(name) => format!("; did you mean {dashes}{name}?"),
        None => "; see --help".to_owned(),
    }
}
