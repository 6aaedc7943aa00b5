//! Where settings come from: the file, then the environment, then the flags; later ones win.
//!
//! All three speak the table's names and hand on text, so a value means the same wherever it is
//! written. Go's rules for flags: one dash or two, `--flag=value` or `--flag value` (which may
//! begin with a dash), a boolean alone means true and takes no word after it, the last one wins.
use std::collections::BTreeMap;

use super::error::{ConfigError, Origin};
use super::table::{self, FLAGS, Flag, Kind};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The config file of this path.
    File(String),
    /// An `ETCD_*` variable.
    Env,
    /// The command line.
    Flag,
}

/// A value as text, with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The text.
    pub text: String,
    /// The name as the user spelt it, and where.
    pub origin: Origin,
}

/// A line for the log, found before there is a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Worth knowing.
    Info(String),
    /// Worth looking into.
    Warn(String),
}

/// Everything that was set, by flag name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    given: BTreeMap<&'static str, Given>,
    /// Lines for the log.
    pub notices: Vec<Notice>,
}

/// What the command line asks for besides settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `--help` or `-h`.
    pub help: bool,
    /// `--version`.
    pub version: bool,
}

impl Sources {
    /// The value of a flag, if it was set anywhere.
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// All that was set.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Flag, &Given)> {
        FLAGS.iter().filter_map(|flag| Some((flag, self.given.get(flag.name)?)))
    }

    /// Adds values of one source over those of earlier, weaker ones.
    pub fn lay_over(&mut self, flag: &'static Flag, text: String, origin: Origin) {
        let stronger = Given { text, origin };
        let Some(weaker) = self.given.insert(flag.name, stronger) else { return };
        let winner = &self.given[flag.name];
        let from_both = weaker.origin.source == Source::Env && winner.origin.source == Source::Flag;
        if from_both && weaker.text != winner.text {
            self.notices.push(Notice::Warn(format!(
                "{} and {} are both set; the flag wins",
                weaker.origin, winner.origin
            )));
        }
    }

    /// Reads the environment. An empty variable counts as not set, as in etcd.
    pub fn read_env(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let mut unknown = Vec::new();
        let mut variables: Vec<_> =
            variables.filter(|(name, value)| name.starts_with("ETCD_") && !value.is_empty()).collect();
        variables.sort();
        for (variable, value) in variables {
            match table::find_env(&variable) {
                Some(flag) => {
                    let name = variable["ETCD_".len()..].replace('_', "-").to_ascii_lowercase();
                    self.lay_over(flag, value, Origin { name, source: Source::Env });
                }
                None if variable == "ETCD_UNSUPPORTED_ARCH" => {}
                None => unknown.push(variable),
            }
        }
        if !unknown.is_empty() {
            self.notices.push(Notice::Warn(format!(
                "unknown environment variables, ignored: {}",
                unknown.join(", ")
            )));
        }
    }
}

/// A flag on the command line: which, how it was spelt, and its value.
#[derive(Clone, Debug)]
pub struct Word {
    /// The flag.
    pub flag: &'static Flag,
    /// Its name as spelt, perhaps an old one.
    pub name: String,
    /// The value.
    pub text: String,
}

/// Splits a command line (without the program's name) into flags and values.
///
/// # Errors
/// Unknown flags, words that are no flags, a value missing at the end.
pub fn read_argv(argv: &[String]) -> Result<(Asked, Vec<Word>), ConfigError> {
    let (mut asked, mut flags) = (Asked::default(), Vec::new());
    let mut words = argv.iter();
    while let Some(word) = words.next() {
        let Some(body) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|b| !b.is_empty())
        else {
            return Err(not_a_flag(word));
        };
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        match name {
            "help" | "h" => asked.help = true,
            "version" => asked.version |= value.as_deref() != Some("false"),
            _ => {
                let flag = table::find(name).ok_or_else(|| unknown_flag(name))?;
                let text = match (value, flag.kind) {
                    (Some(value), _) => value,
                    (None, Kind::Bool | Kind::Ignored) => "true".to_owned(),
                    (None, _) => words.next().ok_or(ConfigError::NeedsValue { name: flag.name })?.clone(),
                };
                flags.push(Word { flag, name: name.to_owned(), text });
            }
        }
    }
    Ok((asked, flags))
}

fn not_a_flag(word: &str) -> ConfigError {
    match word {
        "gateway" | "grpc-proxy" => ConfigError::Subcommand(word.to_owned()),
        _ => ConfigError::NotAFlag(word.to_owned()),
    }
}

fn unknown_flag(name: &str) -> ConfigError {
    let names = FLAGS.iter().map(|flag| flag.name).chain(["help", "version"]);
    ConfigError::UnknownFlag { name: name.to_owned(), nearest: table::nearest(name, names) }
}
