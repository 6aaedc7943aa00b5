//! etcd's own Go client and what is built on it (`go/`): a test for each group of parts.
use bramble_tests::tools;

use crate::program::Program;

fn group(name: &str) {
    if let Some(program) = tools::go_client() {
        Program::new(&program).arg(name).same_on_both();
    }
}

#[test]
fn go_watches() {
    group("watches");
}

#[test]
fn go_sessions_locks_and_elections() {
    group("sessions");
}

#[test]
fn go_recipes_on_transactions() {
    group("recipes");
}

#[test]
fn go_wrappers_of_the_client() {
    group("wrappers");
}

#[test]
fn go_users_roles_and_tokens() {
    if let Some(program) = tools::go_client() {
        let flags = &["--bcrypt-cost=4", "--auth-token-ttl=2"];
        Program::new(&program).arg("auth").flags(flags).same_on_both();
    }
}

#[test]
fn go_while_the_server_is_killed() {
    group("kills");
}

#[test]
fn go_flannels_subnets() {
    group("flannel");
}
