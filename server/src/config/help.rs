//! The table for people: `--help`, `--version`, and the pages in `server/README.md`.
use std::fmt::Write;

use super::table::{ALIASES, FLAGS, Flag, Group, Policy};
use crate::version;

const USAGE: &str = "\
Usage:
  bramble [flags]           start a member
  bramble --version         show the versions
  bramble --help            show this

Every flag may be written with one dash or two, as --flag=value or --flag value.
Every flag is also an environment variable (--data-dir is ETCD_DATA_DIR) and a key of the file
that --config-file names. A flag wins over the environment, the environment over the file.

Flags marked (no effect) are accepted so that etcd's command lines work; flags marked (refused)
stop the start. Each says why.
";

/// The text of `--help`.
pub fn help() -> String {
    let mut text = USAGE.to_owned();
    for group in Group::ALL {
        let _ = write!(text, "\n{}:\n", group.title());
        for flag in in_group(group) {
            let _ = writeln!(text, "  --{} '{}'", flag.name, flag.default);
            let _ = writeln!(text, "    {}{}", mark(flag.policy), flag.note);
        }
    }
    text.push_str("\nOld names:\n");
    for (old, new) in ALIASES {
        let _ = writeln!(text, "  --{old} = --{new}");
    }
    text
}

/// The text of `--version`; under the name `etcd` scripts read the version from the first line.
pub fn version(called_etcd: bool) -> String {
    let etcd = format!("etcd Version: {}\n", version::ETCD_SERVER);
    let bramble = format!("bramble {}\n", version::BRAMBLE);
    if called_etcd { etcd + &bramble } else { bramble + &etcd }
}

/// The flag table as Markdown.
pub fn markdown() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let _ = write!(text, "### {}\n\n| flag | default | | |\n|---|---|---|---|\n", group.title());
        for flag in in_group(group) {
            let default = if flag.default.is_empty() { String::new() } else { format!("`{}`", flag.default) };
            let _ =
                writeln!(text, "| `--{}` | {default} | {} | {} |", flag.name, flag.policy.word(), flag.note);
        }
        text.push('\n');
    }
    text.push_str("### Old names\n\n| etcd 3.5 | today |\n|---|---|\n");
    for (old, new) in ALIASES {
        let _ = writeln!(text, "| `--{old}` | `--{new}` |");
    }
    text
}

fn in_group(group: Group) -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().filter(move |flag| flag.group == group)
}

fn mark(policy: Policy) -> &'static str {
    match policy {
        Policy::Honoured => "",
        Policy::Accepted => "(no effect) ",
        Policy::Refused => "(refused) ",
    }
}
