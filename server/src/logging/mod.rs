//! The program's log: etcd's JSON lines for machines, or text for people.
//!
//! `{"level":"info","ts":"2026-11-21T07:07:40.492678Z","caller":"src/main.rs:81","msg":"…","key":…}`
//! Log pipelines that read etcd's zap lines read these. A line that cannot be written is lost, never
//! an error: a full disk under a log file must not stop the member.
mod rotation;

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bramble_server::config::{LogFormat, LogLevel, LogOutput, LogRotation, LogSettings};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use rotation::RotatedFile;

/// Begins to log as the settings say.
///
/// # Errors
/// A file that cannot be opened.
pub fn begin(settings: &LogSettings) -> Result<(), String> {
    let mut outputs = Outputs::default();
    for output in &settings.outputs {
        match output {
            LogOutput::Stderr => outputs.stderr = true,
            LogOutput::Stdout => outputs.stdout = true,
            LogOutput::File(path) => outputs.open(path, settings.rotation.as_ref()).map_err(|error| {
                let path = path.display();
                format!("cannot open the log file {path}: {error}; choose another in --log-outputs")
            })?,
        }
    }
    let terminal = outputs.is_terminal();
    let format = settings.format.unwrap_or(if terminal { LogFormat::Console } else { LogFormat::Json });
    let layer = tracing_subscriber::fmt::layer().event_format(Lines { format }).with_writer(outputs);
    let registry = tracing_subscriber::registry().with(filter(settings.level)).with(layer);
    registry.try_init().map_err(|error| error.to_string())
}

/// Our own lines at the level asked for; the libraries' only when they matter to an operator.
fn filter(level: LogLevel) -> Targets {
    let (own, libraries, raft) = match level {
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN, LevelFilter::ERROR),
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR, LevelFilter::ERROR),
    };
    // openraft warns of things that are usual, such as a vote that was overtaken by the next.
    Targets::new().with_default(libraries).with_target("bramble", own).with_target("openraft", raft)
}

/// Every place that a line goes to.
#[derive(Default)]
struct Outputs {
    stderr: bool,
    stdout: bool,
    files: Vec<File>,
    rotated: Option<Mutex<RotatedFile>>,
}

impl Outputs {
    fn open(&mut self, path: &Path, rotation: Option<&LogRotation>) -> io::Result<()> {
        match rotation {
            Some(rotation) => self.rotated = Some(Mutex::new(RotatedFile::open(path, rotation.clone())?)),
            None => self.files.push(OpenOptions::new().create(true).append(true).open(path)?),
        }
        Ok(())
    }

    fn is_terminal(&self) -> bool {
        let files = !self.files.is_empty() || self.rotated.is_some();
        let streams =
            (self.stderr && io::stderr().is_terminal()) || (self.stdout && io::stdout().is_terminal());
        streams && !files
    }
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Tee<'a>;

    fn make_writer(&'a self) -> Tee<'a> {
        Tee(self)
    }
}

/// One line to all outputs; each line comes in one `write`.
struct Tee<'a>(&'a Outputs);

impl Write for Tee<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.stderr {
            let _ = io::stderr().lock().write_all(line);
        }
        if self.0.stdout {
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(line).and_then(|()| stdout.flush());
        }
        for mut file in &self.0.files {
            let _ = file.write_all(line);
        }
        if let Some(file) = &self.0.rotated {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = file.write_line(line, SystemTime::now());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes events as lines.
struct Lines {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields { format: self.format, ..Fields::default() };
        event.record(&mut fields);
        let metadata = event.metadata();
        let ts = humantime::format_rfc3339_micros(SystemTime::now());
        match self.format {
            LogFormat::Console => {
                writeln!(writer, "{ts} {:>5} {}{}", metadata.level().as_str(), fields.message, fields.rest)
            }
            LogFormat::Json => {
                let level = metadata.level().as_str().to_ascii_lowercase();
                let caller = caller(metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default());
                let msg = quoted(&fields.message);
                writeln!(
                    writer,
                    r#"{{"level":"{level}","ts":"{ts}","caller":{caller},"msg":{msg}{}}}"#,
                    fields.rest
                )
            }
        }
    }
}

/// As zap does it: the last folder, the file and the line.
fn caller(file: &str, line: u32) -> String {
    let mut parts = file.rsplit('/');
    let name = parts.next().unwrap_or_default();
    match parts.next() {
        Some(folder) => quoted(&format!("{folder}/{name}:{line}")),
        None => quoted(&format!("{name}:{line}")),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Collects an event's message, and the other fields as they will stand in the line.
struct Fields {
    format: LogFormat,
    message: String,
    rest: String,
}

impl Default for Fields {
    fn default() -> Fields {
        Fields { format: LogFormat::Json, message: String::new(), rest: String::new() }
    }
}

impl Fields {
    fn add(&mut self, name: &str, value: serde_json::Value) {
        // A string cannot fail to be written to.
        let _ = match (self.format, value) {
            (LogFormat::Json, value) => write!(self.rest, ",{}:{value}", quoted(name)),
            (LogFormat::Console, serde_json::Value::String(text)) if !text.contains([' ', '"']) => {
                write!(self.rest, "  {name}={text}")
            }
            (LogFormat::Console, value) => write!(self.rest, "  {name}={value}"),
        };
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.add(name, format!("{value:?}").into()),
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.add(name, value.into()),
        }
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value.into());
    }
}
