//! Commands about users, roles, alarms, what is left of leases, and downgrades.
//!
//! ```text
//!   enable   disable   authenticate USER [TOKEN]
//!   user_add NAME [HASH] [no_password]   user_delete NAME   user_password NAME HASH
//!   user_grant USER ROLE   user_revoke USER ROLE   role_add NAME   role_delete NAME
//!   role_grant ROLE read|write|both KEY [END]   role_grant ROLE   role_revoke ROLE KEY [END]
//!   auth                                   whether it is on, its revision, all users and roles
//!   credentials USER                       what a password would be checked against
//!   may read|write KEY [END]   may root|user   may user_get NAME   may role_get NAME
//!   may read_lease|write_lease ID          what the view says to who asks
//!   expire ID [TERM]                       a revoke by the leader of TERM (1)
//!   raise MEMBER nospace|corrupt   clear MEMBER nospace|corrupt   alarms
//!   checkpoint ID SECONDS …   downgrade VERSION   downgrade_cancel   downgrade_status
//! ```
use std::fmt::Write as _;

use bramble_store::auth::Need;
use bramble_store::command::{Action, AlarmChange, AuthChange, DowngradeChange};
use bramble_store::store::AuthEffect;
use bramble_store::types::*;
use bytes::Bytes;

use super::answers::text;
use super::words::Args;
use super::{Failure, Script};

/// Runs a command if it is one of these.
pub fn run(script: &mut Script, name: &str, args: &Args) -> Result<String, Failure> {
    if let Some(change) = auth_change(name, args)? {
        let out = script.apply(Action::Auth(change))?;
        return Ok(format!("auth_revision={}\n{out}", script.reader.view().auth().revision));
    }
    match name {
        "auth" => auth(script),
        "credentials" => {
            let found = script.reader.view().credentials(args.word(0)?)?;
            Ok(format!("{} at auth revision {}\n", text(&found.password), found.auth_revision))
        }
        "may" => {
            script.reader.view().permit(&script.origin(), &need(args)?)?;
            Ok("yes\n".to_owned())
        }
        "expire" => {
            let term = args.number(1).unwrap_or(1) as u64;
            script.apply_fenced(Action::LeaseRevoke { id: LeaseId(args.number(0)?) }, Some(term))
        }
        "raise" => {
            script.apply(Action::Alarm(AlarmChange::Activate { member: member(args)?, kind: kind(args)? }))
        }
        "clear" => {
            script.apply(Action::Alarm(AlarmChange::Deactivate { member: member(args)?, kind: kind(args)? }))
        }
        "alarms" => {
            Ok(script.reader.view().alarms().iter().fold(String::new(), |mut out, (member, kind)| {
                let _ = writeln!(out, "member={member} {kind:?}");
                out
            }))
        }
        "checkpoint" => {
            let numbers = (0..args.words.len()).map(|at| args.number(at)).collect::<Result<Vec<_>, _>>()?;
            let remaining = numbers.chunks_exact(2).map(|pair| (LeaseId(pair[0]), pair[1])).collect();
            script.apply(Action::LeaseCheckpoint { remaining })
        }
        "downgrade" => {
            let target_version = args.word(0)?.to_owned();
            script.apply(Action::Downgrade(DowngradeChange::Enable { target_version }))
        }
        "downgrade_cancel" => script.apply(Action::Downgrade(DowngradeChange::Cancel)),
        "downgrade_status" => Ok(format!("{}\n", script.reader.view().downgrade().unwrap_or("none"))),
        _ => Err(format!("unknown command {name}").into()),
    }
}

fn auth_change(command: &str, args: &Args) -> Result<Option<AuthChange>, Failure> {
    let name = || args.word(0).map(str::to_owned);
    let second = || args.word(1).map(str::to_owned);
    let password =
        || args.words.get(1).map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(hash.as_bytes()));
    Ok(Some(match command {
        "enable" => AuthChange::Enable,
        "disable" => AuthChange::Disable,
        "authenticate" => AuthChange::Authenticate { user: name()?, token: second().unwrap_or_default() },
        "user_add" => {
            AuthChange::UserAdd { name: name()?, password: password(), no_password: args.has("no_password") }
        }
        "user_delete" => AuthChange::UserDelete { name: name()? },
        "user_password" => AuthChange::UserChangePassword { name: name()?, password: password() },
        "user_grant" => AuthChange::UserGrantRole { user: name()?, role: second()? },
        "user_revoke" => AuthChange::UserRevokeRole { user: name()?, role: second()? },
        "role_add" => AuthChange::RoleAdd { name: name()? },
        "role_delete" => AuthChange::RoleDelete { name: name()? },
        "role_grant" => AuthChange::RoleGrantPermission { role: name()?, permission: permission(args)? },
        "role_revoke" => AuthChange::RoleRevokePermission { role: name()?, range: args.key_range_at(1)? },
        _ => return Ok(None),
    }))
}

fn permission(args: &Args) -> Result<Option<Permission>, Failure> {
    let kind = match args.words.get(1) {
        None => return Ok(None),
        Some(&"read") => PermissionKind::Read,
        Some(&"write") => PermissionKind::Write,
        Some(&"both") => PermissionKind::ReadWrite,
        Some(other) => return Err(format!("unknown permission {other}").into()),
    };
    Ok(Some(Permission { kind, range: args.key_range_at(2)? }))
}

fn need(args: &Args) -> Result<Need, Failure> {
    Ok(match args.word(0)? {
        "user" => Need::User,
        "root" => Need::Root,
        "user_get" => Need::RootOrUser(args.word(1)?.to_owned()),
        "role_get" => Need::RootOrRole(args.word(1)?.to_owned()),
        "read" => Need::Read(args.key_range_at(1)?),
        "write" => Need::Write(args.key_range_at(1)?),
        "read_lease" => Need::ReadLease(LeaseId(args.number(1)?)),
        "write_lease" => Need::WriteLease(LeaseId(args.number(1)?)),
        other => return Err(format!("unknown need {other}").into()),
    })
}

fn member(args: &Args) -> Result<u64, Failure> {
    Ok(args.word(0)?.parse()?)
}

fn kind(args: &Args) -> Result<AlarmKind, Failure> {
    match args.word(1)? {
        "nospace" => Ok(AlarmKind::NoSpace),
        "corrupt" => Ok(AlarmKind::Corrupt),
        other => Err(format!("unknown alarm {other}").into()),
    }
}

fn auth(script: &Script) -> Result<String, Failure> {
    let view = script.reader.view();
    let status = view.auth();
    let mut out = format!("{} revision={}\n", if status.enabled { "on" } else { "off" }, status.revision);
    for user in view.users()? {
        let password = if user.no_password { "no password".to_owned() } else { text(&user.password) };
        writeln!(out, "user {} ({password}): {}", user.name, user.roles.join(" "))?;
    }
    for role in view.roles()? {
        writeln!(out, "role {}", role.name)?;
        for Permission { kind, range } in role.permissions {
            let end = match range.end {
                RangeEnd::Single => String::new(),
                RangeEnd::Before(end) => format!(" {}", text(&end)),
                RangeEnd::Open => " *".to_owned(),
            };
            writeln!(out, "  {kind:?} {}{end}", text(&range.start))?;
        }
    }
    Ok(out)
}

/// What happened to tokens.
pub fn effects(out: &mut String, effects: &[AuthEffect]) {
    for effect in effects {
        let _ = match effect {
            AuthEffect::TokenAssigned { user, token } => writeln!(out, "token {token} for {user}"),
            AuthEffect::UserTokensDropped { user } => writeln!(out, "tokens of {user} are void"),
            AuthEffect::AllTokensDropped => writeln!(out, "all tokens are void"),
        };
    }
}
