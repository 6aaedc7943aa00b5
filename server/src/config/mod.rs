//! Settings: etcd's flags, `ETCD_*` environment and YAML file, parsed and checked once.
//!
//! `table` says what there is; `sources` and `file` collect text by the table's names; `check` and
//! `cluster` turn it into a [`Config`]. Nothing here opens a socket or writes a file.
mod auth;
mod check;
mod cluster;
pub mod error;
mod file;
mod gates;
pub mod help;
mod log;
pub mod settings;
pub mod sources;
pub mod table;
pub mod urls;
mod values;

pub use crate::media::Media;
pub use auth::{AuthSettings, JwtSettings, SignMethod, TokenKind};
pub use error::ConfigError;
pub use settings::{
    AutoCompaction, ClientTls, Config, LogFormat, LogLevel, LogOutput, LogRotation, LogSettings,
    MEMORY_MIN_BYTES, MetricsDetail, Profile, TlsVersion,
};
pub use sources::Notice;
pub use urls::{ListenAddr, ListenUrl};

use error::Origin;
use sources::{Source, Sources};

/// What a command line asks the program to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Print this and end well.
    Print(String),
    /// Run a member; the lines belong into the log once there is one.
    Run(Box<Config>, Vec<Notice>),
}

/// Reads a whole command line (program name first) and environment.
///
/// # Errors
/// The first thing that is wrong; [`ConfigError::exit_code`] is the exit status for it.
pub fn read(argv: &[String], env: impl Iterator<Item = (String, String)>) -> Result<Invocation, ConfigError> {
    let (program, words) = match argv.split_first() {
        Some((program, words)) => (program.as_str(), words),
        None => ("bramble", argv),
    };
    let called_etcd = program.rsplit('/').next() == Some("etcd");
    let (asked, flags) = sources::read_argv(words)?;
    if asked.help {
        return Ok(Invocation::Print(help::help()));
    }
    if asked.version {
        return Ok(Invocation::Print(help::version(called_etcd)));
    }
    let variables: Vec<_> = env.collect();
    let mut sources = Sources::default();
    let in_flags =
        flags.iter().rev().find(|word| word.flag.name == "config-file").map(|word| word.text.clone());
    let in_env =
        || variables.iter().find(|(name, _)| name == "ETCD_CONFIG_FILE").map(|(_, path)| path.clone());
    if let Some(path) = in_flags.or_else(in_env).filter(|path| !path.is_empty()) {
        file::read(&path, &mut sources)?;
    }
    sources.read_env(variables.into_iter());
    for word in flags {
        sources.lay_over(word.flag, word.text, Origin { name: word.name, source: Source::Flag });
    }
    let (config, notices) = check::settings(&sources, called_etcd)?;
    Ok(Invocation::Run(Box::new(config), notices))
}
