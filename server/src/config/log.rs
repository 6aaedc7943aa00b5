//! The settings of the program's own log.
use std::path::Path;

use super::check::{claim, text};
use super::error::ConfigError;
use super::settings::{LogFormat, LogLevel, LogOutput, LogRotation, LogSettings};
use super::sources::Sources;
use super::values;

/// What etcd's rotation takes for a `maxsize` of 0, MiB.
const MAXSIZE_DEFAULT: u64 = 100;

/// How the rotation is written; etcd's names, in small letters.
#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rotation {
    maxsize: u64,
    maxage: u32,
    maxbackups: usize,
    localtime: bool,
    compress: bool,
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { maxsize: MAXSIZE_DEFAULT, maxage: 0, maxbackups: 0, localtime: false, compress: false }
    }
}

pub(super) fn settings(sources: &Sources) -> Result<LogSettings, ConfigError> {
    let level = match text(sources, "log-level").as_deref() {
        Some("debug") => LogLevel::Debug,
        Some("warn") => LogLevel::Warn,
        Some("error" | "panic" | "fatal") => LogLevel::Error,
        _ => LogLevel::Info,
    };
    let format = match text(sources, "log-format").as_deref() {
        Some("json") => Some(LogFormat::Json),
        Some("console") => Some(LogFormat::Console),
        _ => None,
    };
    let outputs = outputs(sources);
    let rotation = rotation(sources, &outputs)?;
    Ok(LogSettings { level, format, outputs, rotation })
}

fn outputs(sources: &Sources) -> Vec<LogOutput> {
    let names = values::list(&text(sources, "log-outputs").unwrap_or_default());
    let mut outputs: Vec<LogOutput> = Vec::new();
    for name in if names.is_empty() { vec!["default".to_owned()] } else { names } {
        let output = match name.as_str() {
            "default" | "stderr" | "systemd/journal" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            path => LogOutput::File(Path::new(path).to_owned()),
        };
        if !outputs.contains(&output) {
            outputs.push(output);
        }
    }
    outputs
}

/// Names are taken in any case, as in etcd: `maxSize` is `maxsize`. A misspelt one is an error, because a
/// bound that is not there is found when the card is full.
fn read_rotation(json: &str) -> serde_json::Result<Rotation> {
    let given: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)?;
    let lower_case = given.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    serde_json::from_value(serde_json::Value::Object(lower_case))
}

/// Rotation is of exactly one file, as in etcd.
fn rotation(sources: &Sources, outputs: &[LogOutput]) -> Result<Option<LogRotation>, ConfigError> {
    if !claim(sources, "enable-log-rotation") {
        return Ok(None);
    }
    let files = outputs.iter().filter(|output| matches!(output, LogOutput::File(_))).count();
    if files != 1 {
        let why = format!(
            "--enable-log-rotation rotates one file, and --log-outputs names {files}: give it the path of one"
        );
        return Err(ConfigError::Contradiction(why));
    }
    let given = match sources.get("log-rotation-config-json") {
        None => Rotation::default(),
        Some(given) => read_rotation(&given.text).map_err(|error| {
            let wanted = format!(
                r#"a JSON object like {{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}}: {error}"#
            );
            values::bad(given, wanted)
        })?,
    };
    let megabytes = if given.maxsize == 0 { MAXSIZE_DEFAULT } else { given.maxsize };
    Ok(Some(LogRotation {
        bytes_max: megabytes.saturating_mul(1 << 20),
        days_max: given.maxage,
        backups_max: given.maxbackups,
        local_time: given.localtime,
        compress: given.compress,
    }))
}
